package main

import (
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

// parseStarlark reads the definitions of a file, in their order.
func parseStarlark(f starlarkFile) ([]definition, error) {
	source, err := os.ReadFile(f.name)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	file, err := (&syntax.FileOptions{}).Parse(f.path, source, 0)
	if err != nil {
		return nil, fmt.Errorf("parse rules: %w", err)
	}
	reader := starlarkReader{source: string(source), variables: map[string]syntax.Expr{}}
	var found []definition
	for _, statement := range file.Stmts {
		var d *definition
		switch statement := statement.(type) {
		case *syntax.AssignStmt:
			name, ok := statement.LHS.(*syntax.Ident)
			if !ok {
				continue
			}
			reader.variables[name.Name] = statement.RHS
			d, err = reader.assigned(name.Name, statement.RHS)
		case *syntax.DefStmt:
			d = reader.macro(statement)
		}
		if err != nil {
			return nil, fmt.Errorf("read rules of %s: %w", f.path, err)
		}
		if d != nil && !strings.HasPrefix(d.name, "_") {
			d.label = "//" + path.Dir(f.path) + ":" + path.Base(f.path)
			found = append(found, *d)
		}
	}
	return found, nil
}

type starlarkReader struct {
	source    string
	variables map[string]syntax.Expr // of the file, so far
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

// fields reads a dict of attributes or of a provider's fields. One that is
// joined with a dict of another file has the fields that are written here.
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
		if known, ok := r.variables[expr.Name]; ok {
			return r.fields(known)
		}
		if strings.HasSuffix(expr.Name, "_ATTRS") { // private ones of a rule that helps
			return nil, nil
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
	lines := strings.SplitAfter(r.source, "\n")
	offset := func(p syntax.Position) int {
		n := 0
		for _, line := range lines[:p.Line-1] {
			n += len(line)
		}
		return n + len(string([]rune(lines[p.Line-1])[:p.Col-1]))
	}
	return strings.Join(strings.Fields(r.source[offset(start):offset(end)]), " ")
}
