package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

// kind is the part of an action in which two builds differ.
type kind string

const (
	kindInput    kind = "input"
	kindArgument kind = "argument"
	kindEnv      kind = "environment variable"
	kindPlatform kind = "platform property"
	kindTimeout  kind = "timeout"
	kindDeclared kind = "declared output"
	kindCaching  kind = "caching"    // whether it may be cached and run elsewhere
	kindKey      kind = "cache key"  // with all of the above equal
	kindResult   kind = "exit state" // with an equal cache key
	kindOutput   kind = "output"     // with an equal cache key
)

// change is one difference. It is a map key: the same one in many actions is
// one cause.
type change struct {
	Kind kind   `json:"kind"`
	Name string `json:"name"` // of the file, variable, ...; "" where the kind says all
	A    value  `json:"a"`
	B    value  `json:"b"`
}

// value is what one side has, which may be nothing.
type value struct {
	text string
	set  bool
}

func some(text string) value { return value{text, true} }

func (v value) String() string {
	if !v.set {
		return "nothing"
	}
	return strconv.Quote(v.text)
}

// MarshalJSON writes nothing as null.
func (v value) MarshalJSON() ([]byte, error) {
	if !v.set {
		return []byte("null"), nil
	}
	return json.Marshal(v.text)
}

// diffKey compares what the cache key of an action is made of.
func diffKey(a, b *execlog.Spawn) ([]change, error) {
	changes := diffArgs(a.Args, b.Args)
	for _, part := range []struct {
		kind kind
		a, b []execlog.Variable
	}{
		{kindEnv, a.Env, b.Env},
		{kindPlatform, a.Platform.Properties, b.Platform.Properties},
		{kindDeclared, declared(a), declared(b)},
		{kindCaching, caching(a), caching(b)},
		{kindTimeout, timeout(a), timeout(b)},
		{kindInput, contents(a.Inputs), contents(b.Inputs)},
	} {
		found, err := diffVariables(part.kind, part.a, part.b)
		if err != nil {
			return nil, err
		}
		changes = append(changes, found...)
	}
	if len(changes) == 0 && a.Key.Hash != "" && b.Key.Hash != "" && a.Key.Hash != b.Key.Hash {
		changes = []change{{kindKey, "", some(a.Key.Hash), some(b.Key.Hash)}}
	}
	return changes, nil
}

// diffResult compares what came of an action.
func diffResult(a, b *execlog.Spawn) ([]change, error) {
	if stateA, stateB := state(a), state(b); stateA != stateB {
		return []change{{kindResult, "", some(stateA), some(stateB)}}, nil
	}
	return diffVariables(kindOutput, contents(a.Outputs), contents(b.Outputs))
}

func state(s *execlog.Spawn) string {
	if s.Status == "" && s.ExitCode == 0 {
		return "success"
	}
	return fmt.Sprintf("%s, exit code %d", s.Status, s.ExitCode)
}

func declared(s *execlog.Spawn) []execlog.Variable {
	var list []execlog.Variable
	for _, path := range s.ListedOutputs {
		list = append(list, execlog.Variable{Name: path})
	}
	return list
}

func caching(s *execlog.Spawn) []execlog.Variable {
	return []execlog.Variable{
		{Name: "remotable", Value: strconv.FormatBool(s.Remotable)},
		{Name: "cacheable", Value: strconv.FormatBool(s.Cacheable)},
		{Name: "remoteCacheable", Value: strconv.FormatBool(s.RemoteCacheable)},
	}
}

func timeout(s *execlog.Spawn) []execlog.Variable {
	if s.TimeoutMillis == "" || s.TimeoutMillis == "0" {
		return nil
	}
	return []execlog.Variable{{Value: s.TimeoutMillis.String() + " ms"}}
}

func contents(files []execlog.File) []execlog.Variable {
	list := make([]execlog.Variable, len(files))
	for i, file := range files {
		list[i] = execlog.Variable{Name: file.Path, Value: file.Content()}
	}
	return list
}

// diffVariables compares two lists without regard to their order, sorted by
// name.
func diffVariables(kind kind, a, b []execlog.Variable) ([]change, error) {
	if slices.Equal(a, b) {
		return nil, nil
	}
	valuesA, err := byName(kind, a)
	if err != nil {
		return nil, err
	}
	valuesB, err := byName(kind, b)
	if err != nil {
		return nil, err
	}
	names := maps.Clone(valuesA)
	maps.Copy(names, valuesB)
	var changes []change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if valuesA[name] != valuesB[name] {
			changes = append(changes, change{kind, name, valuesA[name], valuesB[name]})
		}
	}
	return changes, nil
}

func byName(kind kind, list []execlog.Variable) (map[string]value, error) {
	values := make(map[string]value, len(list))
	for _, v := range list {
		if known, ok := values[v.Name]; ok && known.text != v.Value {
			return nil, fmt.Errorf("%s %s stands twice, as %q and as %q", kind, v.Name, known.text, v.Value)
		}
		values[v.Name] = some(v.Value)
	}
	return values, nil
}

// diffArgs compares two command lines: argument by argument where equally many
// are between the first and the last difference, else all of that at once.
func diffArgs(a, b []string) []change {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) != len(b) {
		return []change{{kindArgument, "", joined(a), joined(b)}}
	}
	var changes []change
	for i := range a {
		if c := (change{kindArgument, "", some(a[i]), some(b[i])}); a[i] != b[i] && !slices.Contains(changes, c) {
			changes = append(changes, c)
		}
	}
	return changes
}

func joined(args []string) value {
	if len(args) == 0 {
		return value{}
	}
	return some(strings.Join(args, " "))
}
