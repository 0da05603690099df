package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"go.starlark.net/syntax"
)

// starlarkFile is a .bzl file and what it has for others.
type starlarkFile struct {
	path string // in the repository
	name string // of the file to read
}

// definition is a public name of a .bzl file.
type definition struct {
	label  string // of the file, //PACKAGE:FILE
	name   string
	kind   string // rule, provider, macro, ...
	doc    string
	fields []field
}

// field is an attribute, a provider's field or a macro's parameter.
type field struct{ name, kind, value, doc string }

// kinds are the functions that make what can be loaded, and the argument that
// has its fields.
var kinds = map[string]struct{ title, fields string }{
	"rule":             {"rule", "attrs"},
	"aspect":           {"aspect", "attrs"},
	"repository_rule":  {"repository rule", "attrs"},
	"module_extension": {"module extension", "tag_classes"},
	"provider":         {"provider", "fields"},
}

// starlarkReader reads one file.
type starlarkReader struct {
	path      string
	lines     []string
	file      *syntax.File
	variables map[string]syntax.Expr // assigned in the file
	loads     map[string]loaded
	others    map[string]*starlarkReader // all files, by label
}

// loaded is where a name of another file comes from.
type loaded struct{ label, name string }

// parseStarlark gives the definitions of files, which may use each other's
// dicts of attributes, in their order.
func parseStarlark(files []starlarkFile) ([]definition, error) {
	others := map[string]*starlarkReader{}
	var readers []*starlarkReader
	for _, f := range files {
		r, err := newStarlarkReader(f)
		if err != nil {
			return nil, err
		}
		r.others = others
		others[r.label()] = r
		readers = append(readers, r)
	}
	var all []definition
	var problems []error
	for _, r := range readers {
		found, err := r.definitions()
		if err == nil && len(found) == 0 {
			err = errors.New("it defines nothing")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("read rules of %s: %w", r.path, err))
		}
		all = append(all, found...)
	}
	return all, errors.Join(problems...)
}

func newStarlarkReader(f starlarkFile) (*starlarkReader, error) {
	source, err := os.ReadFile(f.name)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	file, err := (&syntax.FileOptions{}).Parse(f.path, source, 0)
	if err != nil {
		return nil, fmt.Errorf("parse rules: %w", err)
	}
	r := &starlarkReader{
		path: f.path, lines: strings.SplitAfter(string(source), "\n"), file: file,
		variables: map[string]syntax.Expr{}, loads: map[string]loaded{},
	}
	for _, statement := range file.Stmts {
		switch statement := statement.(type) {
		case *syntax.LoadStmt:
			for i, name := range statement.To {
				r.loads[name.Name] = loaded{statement.ModuleName(), statement.From[i].Name}
			}
		case *syntax.AssignStmt:
			if name, ok := statement.LHS.(*syntax.Ident); ok {
				r.variables[name.Name] = statement.RHS
			}
		}
	}
	return r, nil
}

func (r *starlarkReader) label() string { return "//" + path.Dir(r.path) + ":" + path.Base(r.path) }

// definitions are the public ones of the file.
func (r *starlarkReader) definitions() ([]definition, error) {
	var found []definition
	for _, statement := range r.file.Stmts {
		var d *definition
		switch statement := statement.(type) {
		case *syntax.AssignStmt:
			name, ok := statement.LHS.(*syntax.Ident)
			if !ok {
				continue
			}
			var err error
			if d, err = r.assigned(name.Name, statement.RHS); err != nil {
				return nil, err
			}
		case *syntax.DefStmt:
			d = r.macro(statement)
		}
		if d == nil || strings.HasPrefix(d.name, "_") {
			continue
		}
		if d.doc == "" {
			return nil, fmt.Errorf("%s has no doc", d.name)
		}
		d.label = r.label()
		found = append(found, *d)
	}
	return found, nil
}

// assigned is what name = rule(...) and its like define, or nil.
func (r *starlarkReader) assigned(name string, value syntax.Expr) (*definition, error) {
	call, ok := value.(*syntax.CallExpr)
	if !ok {
		return nil, nil
	}
	kind, ok := kinds[r.text(call.Fn)]
	if !ok {
		return nil, nil
	}
	d := &definition{name: name, kind: kind.title}
	if doc := argument(call, "doc"); doc != nil {
		d.doc = r.value(doc)
	}
	var err error
	if fields := argument(call, kind.fields); fields != nil {
		if d.fields, err = r.fields(fields); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", kind.fields, name, err)
		}
	}
	return d, nil
}

// fields reads a dict of attributes or of a provider's fields, or several that
// are joined.
func (r *starlarkReader) fields(expr syntax.Expr) ([]field, error) {
	switch expr := expr.(type) {
	case *syntax.BinaryExpr:
		left, err := r.fields(expr.X)
		if err != nil {
			return nil, err
		}
		right, err := r.fields(expr.Y)
		return append(left, right...), err
	case *syntax.Ident:
		if from, ok := r.loads[expr.Name]; ok {
			other := r.others[from.label]
			if other == nil || other.variables[from.name] == nil {
				return nil, fmt.Errorf("%s is loaded from %s, which is not given or does not define it", expr.Name, from.label)
			}
			return other.fields(other.variables[from.name])
		}
		if known, ok := r.variables[expr.Name]; ok {
			return r.fields(known)
		}
	case *syntax.DictExpr:
		var fields []field
		for _, item := range expr.List {
			entry := item.(*syntax.DictEntry)
			f := field{name: r.value(entry.Key)}
			if strings.HasPrefix(f.name, "_") {
				continue
			}
			call, ok := entry.Value.(*syntax.CallExpr)
			if !ok {
				f.doc = r.value(entry.Value)
				fields = append(fields, f)
				continue
			}
			f.kind = strings.TrimPrefix(r.text(call.Fn), "attr.")
			if doc := argument(call, "doc"); doc != nil {
				f.doc = r.value(doc)
			}
			switch value := argument(call, "default"); {
			case value != nil:
				f.value = r.text(value)
			case argument(call, "mandatory") != nil:
				f.value = "required"
			}
			if values := argument(call, "values"); values != nil {
				f.doc = strings.TrimSpace(f.doc + " One of " + strings.Trim(r.text(values), "[]") + ".")
			}
			fields = append(fields, f)
		}
		return fields, nil
	}
	return nil, fmt.Errorf("got %s, want a dict", r.text(expr))
}

// macro is a function with a docstring; others are no one's business but the
// file's and its tests'.
func (r *starlarkReader) macro(def *syntax.DefStmt) *definition {
	expr, ok := def.Body[0].(*syntax.ExprStmt)
	if !ok {
		return nil
	}
	literal, ok := expr.X.(*syntax.Literal)
	if !ok || literal.Token != syntax.STRING {
		return nil
	}
	doc, parameters := splitDocstring(r.value(literal))
	d := &definition{name: def.Name.Name, kind: "macro", doc: doc}
	for _, parameter := range def.Params {
		f := field{name: r.text(parameter)}
		if assigned, ok := parameter.(*syntax.BinaryExpr); ok {
			f.name, f.value = r.text(assigned.X), r.text(assigned.Y)
		} else if !strings.HasPrefix(f.name, "*") {
			f.value = "required"
		}
		f.doc = parameters[f.name]
		d.fields = append(d.fields, f)
	}
	return d
}

// splitDocstring takes the parameters out of a docstring in Google's form, which
// buildifier wants. What comes behind them stays with the text.
func splitDocstring(doc string) (text string, parameters map[string]string) {
	parameters = map[string]string{}
	var kept []string
	var inside bool
	var last string
	for line := range strings.SplitSeq(doc, "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		line = strings.TrimSpace(line)
		switch {
		case line == "Args:":
			inside = true
		case inside && line != "" && indent <= 4:
			inside = false
			kept = append(kept, line)
		case !inside:
			kept = append(kept, line)
		case indent == 8:
			var about string
			last, about, _ = strings.Cut(line, ":")
			parameters[last] = strings.TrimSpace(about)
		case line != "":
			parameters[last] += " " + line
		}
	}
	return strings.TrimSpace(strings.Join(kept, "\n")), parameters
}

// argument is the value of a named argument of a call, or nil.
func argument(call *syntax.CallExpr, name string) syntax.Expr {
	index := slices.IndexFunc(call.Args, func(arg syntax.Expr) bool {
		named, ok := arg.(*syntax.BinaryExpr)
		if !ok || named.Op != syntax.EQ {
			return false
		}
		ident, ok := named.X.(*syntax.Ident)
		return ok && ident.Name == name
	})
	if index < 0 {
		return nil
	}
	return call.Args[index].(*syntax.BinaryExpr).Y
}

// value is a string literal's value, and the source of anything else.
func (r *starlarkReader) value(expr syntax.Expr) string {
	if literal, ok := expr.(*syntax.Literal); ok && literal.Token == syntax.STRING {
		return literal.Value.(string)
	}
	return r.text(expr)
}

// text is the source of a node, on one line.
func (r *starlarkReader) text(node syntax.Node) string {
	start, end := node.Span()
	var b strings.Builder
	for n := start.Line; n <= end.Line; n++ {
		line := []rune(r.lines[n-1])
		from, to := 0, len(line)
		if n == start.Line {
			from = int(start.Col) - 1
		}
		if n == end.Line {
			to = int(end.Col) - 1
		}
		b.WriteString(string(line[from:to]))
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
