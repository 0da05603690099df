package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// resources is the number of resources that have a limit, RLIM_NLIMITS of
// include/uapi/asm-generic/resource.h.
const resources = 16

// validate refuses requests that mean nothing, with InvalidArgument.
func validate(start *guestpb.ExecStart) error {
	invalid := func(format string, args ...any) error { return status.Errorf(codes.InvalidArgument, format, args...) }
	hasNUL := func(text string) bool { return strings.Contains(text, "\x00") }
	if i := slices.IndexFunc(start.GetCommand(), hasNUL); i >= 0 {
		return invalid("argument %d has a NUL", i)
	}
	for key, value := range start.GetEnv() {
		// Such a key would set another variable, behind the check for duplicates.
		if key == "" || strings.ContainsAny(key, "=\x00") {
			return invalid("environment variable %q: not a name", clip(key))
		}
		if hasNUL(value) {
			return invalid("environment variable %q has a NUL", clip(key))
		}
	}
	if hasNUL(start.GetCwd()) {
		return invalid("working directory has a NUL")
	}
	if start.GetTimeoutSeconds() < 0 {
		return invalid("timeout of %d seconds is negative", start.GetTimeoutSeconds())
	}
	if start.GetUmask() > 0o777 {
		return invalid("umask %#o is more than 0777", start.GetUmask())
	}
	if len(start.GetExecId()) > maxExecID {
		return invalid("name of command has more than %d bytes", maxExecID)
	}
	var limited [resources]bool
	for _, limit := range start.GetRlimits() {
		resource := limit.GetResource()
		switch {
		case resource >= resources:
			return invalid("resource %d is not below %d", resource, resources)
		case limited[resource]:
			return invalid("resource %d has two limits", resource)
		case limit.GetSoft() > limit.GetHard():
			return invalid("soft limit of resource %d is above the hard one", resource)
		}
		limited[resource] = true
	}
	return nil
}
