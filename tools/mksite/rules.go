package main

import (
	"fmt"
	"slices"
	"strings"

	md "github.com/kindling-vm/kindling/internal/markdown"
)

// chapters are the kinds of definitions in the order of the page.
var chapters = []struct{ title, kind string }{
	{"Rules", "rule"},
	{"Macros", "macro"},
	{"Repository rules", "repository rule"},
	{"Module extensions", "module extension"},
	{"Aspects", "aspect"},
	{"Providers", "provider"},
}

// rulesPage is what .bzl files say of what can be loaded from them.
func rulesPage(files []starlarkFile) ([]byte, error) {
	all, err := parseStarlark(files)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b definition) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString("# Build rules\n\nWhat the build defines, from the `.bzl` files. " +
		"Attributes that every rule has, such as `name` and `tags`, are left out.\n")
	for _, chapter := range chapters {
		title := false
		for _, d := range all {
			if d.kind != chapter.kind {
				continue
			}
			if !title {
				fmt.Fprintf(&b, "\n## %s\n", chapter.title)
				title = true
			}
			writeDefinition(&b, d)
		}
	}
	return []byte(b.String()), nil
}

func writeDefinition(b *strings.Builder, d definition) {
	fmt.Fprintf(b, "\n### %s\n\n", md.Text(d.name))
	call := "load"
	if d.kind == "module extension" {
		call = "use_extension"
	}
	code := fmt.Sprintf("%s(%q, %q)", call, d.label, d.name)
	if call == "use_extension" {
		code = d.name + " = " + code
	}
	b.WriteString(md.CodeBlock(code))
	for _, block := range md.Blocks(d.doc) {
		if block.Verbatim {
			b.WriteString("\n" + md.CodeBlock(block.Text))
		} else {
			b.WriteString("\n" + md.Prose(block.Text) + "\n")
		}
	}
	if len(d.fields) == 0 {
		return
	}
	// A provider's fields have neither type nor default.
	header := []string{"name", "type", "default", ""}
	used := [4]bool{true, false, false, true}
	var rows [][]string
	for _, f := range d.fields {
		value := f.value
		if value != "" && value != "required" {
			value = md.Code(value)
		}
		used[1], used[2] = used[1] || f.kind != "", used[2] || value != ""
		rows = append(rows, []string{md.Code(f.name), md.Text(f.kind), value, md.Prose(f.doc)})
	}
	keep := func(row []string) []string {
		var kept []string
		for i, cell := range row {
			if used[i] {
				kept = append(kept, cell)
			}
		}
		return kept
	}
	for i := range rows {
		rows[i] = keep(rows[i])
	}
	b.WriteString("\n" + md.Table(keep(header), rows))
}
