package lock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ProblemsError tells all that is wrong with a lock.
type ProblemsError struct {
	Problems []string // each names an artifact or a profile, and the field
}

func (e *ProblemsError) Error() string {
	if len(e.Problems) == 1 {
		return "check lock: " + e.Problems[0]
	}
	return fmt.Sprintf("check lock: %d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// Parse reads a lock. What is no JSON is one error with its line; an unknown,
// repeated or missing key, a value of the wrong type, and whatever else the
// schema does not allow are all in one *ProblemsError. How the document is
// indented does not matter.
func Parse(data []byte) (*Lock, error) {
	// The decoder would put another character in the place of each wrong byte.
	if !utf8.Valid(data) {
		return nil, errors.New("parse lock: it is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
			return nil, fmt.Errorf("parse lock: line %d: %w", line, err)
		}
		return nil, fmt.Errorf("parse lock: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	document, err := readValue(decoder)
	if err != nil {
		return nil, fmt.Errorf("parse lock: %w", err)
	}
	var r reader
	l, bad := r.lock(document)
	if l != nil {
		r.problems = append(r.problems, l.check(bad)...)
	}
	if len(r.problems) > 0 {
		return nil, &ProblemsError{r.problems}
	}
	return l, nil
}

// object is a JSON object with its keys in their order, also repeated ones. The
// other values are those of encoding/json.
type object []member

type member struct {
	key   string
	value any
}

// readValue reads the next value of a document whose syntax is right.
func readValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		members := object{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := readValue(decoder)
			if err != nil {
				return nil, err
			}
			members = append(members, member{key.(string), value})
		}
		_, err = decoder.Token()
		return members, err
	case json.Delim('['):
		values := []any{}
		for decoder.More() {
			value, err := readValue(decoder)
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
		_, err = decoder.Token()
		return values, err
	default:
		return token, nil
	}
}

// describe shows a value in an error.
func describe(value any) string {
	switch value := value.(type) {
	case object:
		return "an object"
	case []any:
		return "a list"
	case string:
		return quote(value)
	case nil:
		return "null"
	default:
		return fmt.Sprint(value)
	}
}

// quote keeps an error readable whatever stands in the document.
func quote(text string) string {
	const most = 100
	if len(text) > most {
		return strconv.QuoteToASCII(text[:most]) + "..."
	}
	return strconv.QuoteToASCII(text)
}

// reader turns values into a lock and collects what is wrong with their types.
type reader struct {
	problems []string
}

func (r *reader) addf(where, format string, args ...any) {
	r.problems = append(r.problems, where+": "+fmt.Sprintf(format, args...))
}

// unread are the fields of an artifact or a profile that have been reported
// already.
type unread map[string]bool

// unreadFields has the unread fields of what stands at the same index in the
// lock, and of a profile by its name.
type unreadFields struct {
	artifacts []unread
	profiles  map[string]unread
}

func (r *reader) lock(document any) (*Lock, *unreadFields) {
	fields := r.object("lock", document, "version", "profiles", "artifacts")
	if fields == nil {
		return nil, nil
	}
	// What another version's fields mean is not known here.
	if version, ok := fields["version"]; ok && version != json.Number(strconv.Itoa(Version)) {
		r.problems = []string{fmt.Sprintf("lock: version is %s, want %d", describe(version), Version)}
		return nil, nil
	}
	for _, key := range []string{"version", "profiles", "artifacts"} {
		if _, ok := fields[key]; !ok {
			r.addf("lock", "%s is missing", key)
		}
	}
	l := &Lock{Profiles: map[string]Profile{}, Artifacts: []Artifact{}}
	bad := &unreadFields{profiles: map[string]unread{}}
	entries, isList := fields["artifacts"].([]any)
	if value, ok := fields["artifacts"]; ok && !isList {
		r.addf("lock", "artifacts is %s, want a list", describe(value))
	}
	for index, entry := range entries {
		artifact, unread := r.artifact(index, entry)
		l.Artifacts = append(l.Artifacts, artifact)
		bad.artifacts = append(bad.artifacts, unread)
	}
	if value, ok := fields["profiles"]; ok {
		r.profiles(value, l, bad)
	}
	if !isList {
		return nil, nil // no profile could be right
	}
	return l, bad
}

func (r *reader) profiles(value any, l *Lock, bad *unreadFields) {
	members, ok := value.(object)
	if !ok {
		r.addf("lock", "profiles is %s, want an object", describe(value))
	} else if len(members) == 0 {
		r.addf("lock", "profiles is empty")
	}
	previous := ""
	for _, member := range members {
		where := profileLabel(member.key)
		if _, ok := l.Profiles[member.key]; ok {
			r.addf(where, "it stands twice")
			continue
		}
		if member.key < previous {
			r.addf(where, "want profiles in the order of their names")
		}
		previous = member.key
		f := fieldReader{r, where, r.object(where, member.value, "base", "kernel"), unread{}}
		l.Profiles[member.key] = Profile{Base: f.text("base"), Kernel: f.text("kernel")}
		bad.profiles[member.key] = f.unread
	}
}

func (r *reader) artifact(index int, value any) (Artifact, unread) {
	where := artifactLabel(index, textOf(value, "name"), textOf(value, "arch"))
	f := fieldReader{r, where, r.object(where, value, artifactFields...), unread{}}
	return Artifact{
		Name:    f.text("name"),
		Arch:    f.text("arch"),
		Kind:    Kind(f.text("kind")),
		Version: f.text("version"),
		License: f.text("license"),
		SHA256:  f.text("sha256"),
		Size:    f.size("size"),
		Package: f.text("package"),
		Path:    f.text("path"),
		URLs:    f.texts("urls"),
		Headers: f.texts("headers"),
	}, f.unread
}

var artifactFields = []string{
	"name", "arch", "kind", "version", "license", "sha256", "size", "package", "path", "urls", "headers",
}

// textOf is an object's text for a key, or "".
func textOf(value any, key string) string {
	members, _ := value.(object)
	for _, member := range members {
		if text, ok := member.value.(string); ok && member.key == key {
			return text
		}
	}
	return ""
}

// object gives the known fields of an object, or nil where it is none.
func (r *reader) object(where string, value any, known ...string) map[string]any {
	members, ok := value.(object)
	if !ok {
		r.addf(where, "it is %s, want an object", describe(value))
		return nil
	}
	fields := map[string]any{}
	for _, member := range members {
		switch _, repeated := fields[member.key]; {
		case !slices.Contains(known, member.key):
			r.addf(where, "key %s is unknown", quote(member.key))
		case repeated:
			r.addf(where, "key %s stands twice", quote(member.key))
		default:
			fields[member.key] = member.value
		}
	}
	return fields
}

// fieldReader reads the fields of one object. A field that is not there is the
// zero value; an empty one, which would look the same, is a problem.
type fieldReader struct {
	reader *reader
	where  string
	fields map[string]any // nil: what is read is no object
	unread unread
}

func (f *fieldReader) value(key string) (any, bool) {
	value, ok := f.fields[key]
	if f.fields == nil {
		f.unread[key] = true
	}
	return value, ok
}

func (f *fieldReader) refuse(key, format string, args ...any) {
	f.unread[key] = true
	f.reader.addf(f.where, key+" "+format, args...)
}

func (f *fieldReader) text(key string) string {
	value, ok := f.value(key)
	if !ok {
		return ""
	}
	text, ok := value.(string)
	if !ok {
		f.refuse(key, "is %s, want a string", describe(value))
	} else if text == "" {
		f.refuse(key, "is empty")
	}
	return text
}

func (f *fieldReader) size(key string) int64 {
	value, ok := f.value(key)
	if !ok {
		return 0
	}
	number, _ := value.(json.Number)
	size, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || size <= 0 {
		f.refuse(key, "is %s, want a positive integer", describe(value))
		return 0
	}
	return size
}

func (f *fieldReader) texts(key string) []string {
	value, ok := f.value(key)
	if !ok {
		return nil
	}
	values, ok := value.([]any)
	if !ok {
		f.refuse(key, "is %s, want a list of strings", describe(value))
		return nil
	}
	if len(values) == 0 {
		f.refuse(key, "is empty")
		return nil
	}
	var texts []string
	for _, value := range values {
		text, ok := value.(string)
		if !ok || text == "" {
			f.refuse(key, "has %s, want a string that is not empty", describe(value))
			return nil
		}
		texts = append(texts, text)
	}
	return texts
}
