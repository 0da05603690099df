package lock

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// arches are the architectures that a profile must serve.
var arches = []string{"aarch64", "x86_64"}

const (
	hexDigits = "0123456789abcdef"
	nameChars = "abcdefghijklmnopqrstuvwxyz0123456789.-"
)

func artifactLabel(index int, name, arch string) string {
	who := strings.TrimSpace(name + " " + arch)
	if who == "" || quote(who) != `"`+who+`"` {
		who = "?"
	}
	return fmt.Sprintf("artifact %d (%s)", index, who)
}

func profileLabel(name string) string {
	if name == "" || !consistsOf(name, nameChars) {
		return "profile " + quote(name)
	}
	return "profile " + name
}

// check gives all that is wrong with the lock but the fields that are known to
// be: nil knows of none.
func (l *Lock) check(bad *unreadFields) []string {
	var problems []string
	if bad == nil {
		bad = &unreadFields{artifacts: make([]unread, len(l.Artifacts))}
		if len(l.Profiles) == 0 {
			problems = append(problems, "lock: profiles is empty")
		}
	}
	for index := range l.Artifacts {
		artifact := &l.Artifacts[index]
		found := artifact.check(bad.artifacts[index])
		if index > 0 && !bad.artifacts[index].any("name", "arch") && !bad.artifacts[index-1].any("name", "arch") {
			if order := Compare(l.Artifacts[index-1], *artifact); order == 0 {
				found = append(found, "it stands twice")
			} else if order > 0 {
				found = append(found, "want artifacts in the order of name, then arch")
			}
		}
		if artifact.Kind == Kernel && slices.Contains(arches, artifact.Arch) {
			found = append(found, l.checkHeaders(artifact)...)
		}
		for _, problem := range found {
			problems = append(problems, artifactLabel(index, artifact.Name, artifact.Arch)+": "+problem)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Profiles)) {
		for _, problem := range l.checkProfile(name, bad.profiles[name]) {
			problems = append(problems, profileLabel(name)+": "+problem)
		}
	}
	return problems
}

func (u unread) any(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return u[key] })
}

// check gives what is wrong with an artifact by itself.
func (a *Artifact) check(bad unread) []string {
	var problems []string
	addf := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, field := range []struct{ key, value string }{
		{"name", a.Name}, {"arch", a.Arch}, {"kind", string(a.Kind)}, {"version", a.Version}, {"license", a.License},
	} {
		if field.value == "" && !bad[field.key] {
			addf("%s is missing", field.key)
		}
	}
	if !consistsOf(a.Name, nameChars) {
		addf("name is %s, want only lower-case letters, digits, . and -", quote(a.Name))
	}
	switch {
	case a.Arch == "" || slices.Contains(arches, a.Arch):
	case a.Arch != All:
		addf("arch is %s, want x86_64, aarch64 or, of headers, all", quote(a.Arch))
	case a.Kind != Headers && a.Kind != "":
		addf("arch is all, which only headers may have")
	}
	if a.Kind != "" && !slices.Contains([]Kind{Base, Headers, Kernel, Package}, a.Kind) {
		addf("kind is %s, want base, headers, kernel or package", quote(string(a.Kind)))
	}
	for _, field := range []struct{ key, value string }{
		{"version", a.Version}, {"license", a.License}, {"package", a.Package},
	} {
		if !isPlain(field.value) {
			addf("%s is %s, want printable ASCII with no space around it", field.key, quote(field.value))
		}
	}
	if a.SHA256 != "" && (len(a.SHA256) != 64 || !consistsOf(a.SHA256, hexDigits)) {
		addf("sha256 is %s, want 64 lower-case hexadecimal digits", quote(a.SHA256))
	}
	if a.Size < 0 {
		addf("size is %d, want a positive integer", a.Size)
	}
	if !bad.any("sha256", "size") && a.SHA256 == "" && a.Size != 0 {
		addf("size is of no use without sha256")
	}
	problems = append(problems, a.checkSource(bad)...)
	if len(a.Headers) > 0 && a.Kind != Kernel && a.Kind != "" {
		addf("headers is for kernels only")
	}
	return problems
}

// checkSource gives what is wrong with where an artifact comes from.
func (a *Artifact) checkSource(bad unread) []string {
	var problems []string
	addf := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if !bad.any("package", "path", "urls") {
		debian := a.Package != "" || a.Path != ""
		switch {
		case debian == (len(a.URLs) > 0):
			addf("want either urls, or package and path")
		case debian && (a.Package == "" || a.Path == ""):
			addf("want both of package and path")
		case debian && (!a.Pinned() && !bad["sha256"] || a.Size == 0 && !bad["size"]):
			addf("want both of sha256 and size, which only an artifact with urls may leave out")
		}
	}
	if a.Path != "" && !isPoolPath(a.Path) {
		addf("path is %s, want pool/....deb", quote(a.Path))
	}
	for index, address := range a.URLs {
		if problem := checkURL(address); problem != "" {
			addf("urls has %s, %s", quote(address), problem)
			continue
		}
		if slices.Contains(a.URLs[:index], address) {
			addf("urls has %s twice", quote(address))
		}
		if got, want := fileName(address), a.FileName(); got != want {
			addf("urls has %s, want one that ends in %s as the first does", quote(address), quote(want))
		}
	}
	return problems
}

// checkURL gives what an address of an artifact may not be, or "".
func checkURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || !isPlain(address) || strings.Contains(address, " "):
		return "which is no URL"
	case !strings.HasPrefix(address, "https://"):
		return "want https"
	case u.Hostname() == "":
		return "which has no host"
	case u.User != nil:
		return "want no user info"
	case strings.ContainsAny(address, "#?"):
		return "want no query and no fragment"
	case !isClean(strings.TrimPrefix(u.EscapedPath(), "/")):
		return "want a path to a file, without . and .. in it"
	case strings.EqualFold(u.Hostname(), "github.com") && strings.Contains(address, "/archive/"):
		return "which GitHub makes anew, with other bytes: want a release asset"
	}
	return ""
}

func isPoolPath(path string) bool {
	return strings.HasPrefix(path, "pool/") && strings.HasSuffix(path, ".deb") &&
		isClean(path) && isPlain(path) && !strings.ContainsAny(path, " ?#%\\")
}

// isClean reports whether a path names a file and has no way round.
func isClean(path string) bool {
	return !slices.ContainsFunc(strings.Split(path, "/"), func(e string) bool { return e == "" || e == "." || e == ".." })
}

// checkHeaders gives what is wrong with the headers that a kernel names.
func (l *Lock) checkHeaders(kernel *Artifact) []string {
	var problems []string
	for index, name := range kernel.Headers {
		if index > 0 && kernel.Headers[index-1] >= name {
			problems = append(problems, "headers has "+quote(name)+", want names in order and each once")
		}
		found := slices.ContainsFunc([]string{kernel.Arch, All}, func(arch string) bool {
			headers := l.Lookup(name, arch)
			return headers != nil && headers.Kind == Headers
		})
		if !found {
			problems = append(problems, fmt.Sprintf("headers has %s, which are no headers for %s or all", quote(name), kernel.Arch))
		}
	}
	return problems
}

func (l *Lock) checkProfile(name string, bad unread) []string {
	var problems []string
	if name == "" || !consistsOf(name, nameChars) {
		problems = append(problems, "want a name of lower-case letters, digits, . and -")
	}
	profile := l.Profiles[name]
	for _, part := range []struct {
		kind Kind
		name string
	}{{Base, profile.Base}, {Kernel, profile.Kernel}} {
		if bad[string(part.kind)] {
			continue
		}
		if part.name == "" {
			problems = append(problems, string(part.kind)+" is missing")
			continue
		}
		for _, arch := range arches {
			if artifact := l.Lookup(part.name, arch); artifact == nil || artifact.Kind != part.kind {
				problems = append(problems, fmt.Sprintf("%s is %s, which is no %[1]s for %[3]s", part.kind, quote(part.name), arch))
			}
		}
	}
	return problems
}

// isPlain reports whether a text is printable ASCII with no space around it.
func isPlain(text string) bool {
	return strings.TrimSpace(text) == text &&
		!strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

func consistsOf(text, alphabet string) bool {
	return strings.Trim(text, alphabet) == ""
}
