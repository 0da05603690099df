package main

import (
	"fmt"
	"net/url"
	"strings"
)

// packageURL gives a package URL (ECMA-427). Its parts are not yet escaped; "" is
// a version or a subpath that is not there. Qualifiers are pairs of key and value,
// sorted by key.
//
// Go's module paths keep their case although the type's definition lowers it: they
// are compared with case, and the programs that read these URLs keep it too.
func packageURL(kind, name, version, subpath string, qualifiers ...pair) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pkg:%s/%s", kind, escapeSegments(name))
	if version != "" {
		b.WriteString("@" + escapePart(version))
	}
	for i, q := range qualifiers {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(q.key + "=" + escapePart(q.value))
	}
	if subpath != "" {
		b.WriteString("#" + escapeSegments(subpath))
	}
	return b.String()
}

func escapeSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = escapePart(segment)
	}
	return strings.Join(segments, "/")
}

// escapePart escapes all but what stands for itself everywhere: unreserved
// characters (RFC 3986) and the colon.
func escapePart(s string) string {
	return strings.NewReplacer("+", "%20", "%3A", ":").Replace(url.QueryEscape(s))
}
