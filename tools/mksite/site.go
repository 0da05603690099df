package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"
)

const indexName = "index.md"

var (
	//go:embed page.html
	pageTemplate string
	//go:embed style.css
	style []byte
	//go:embed site.js
	script []byte
)

// site is what is made of docs.
type site struct {
	files    map[string][]byte // what was given, by name
	pages    map[string]*page  // of it, by name
	sections []section
	order    []entry // the index, then all entries of the sections
}

// section is a part of the index.
type section struct {
	Title   string
	Entries []entry
}

// entry is a page in the index.
type entry struct {
	Title, Target string
	page          *page
}

// build makes the files of the site of those in docs. It gives all problems at
// once.
func build(files map[string][]byte) (map[string][]byte, error) {
	s := &site{files: files, pages: map[string]*page{}}
	var problems []error
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if path.Ext(name) != ".md" {
			continue
		}
		p, err := parsePage(name, files[name])
		problems = append(problems, err)
		s.pages[name] = p
	}
	if s.pages[indexName] == nil {
		return nil, errors.New("make site: there is no page index.md")
	}
	problems = append(problems, s.readIndex())
	for _, name := range names {
		if p := s.pages[name]; p != nil {
			problems = append(problems, s.settleLinks(p))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return s.render(names)
}

// readIndex takes the sections from the index: its headings of level 2, and of
// each the lists behind it, whose items begin with a link to a page.
func (s *site) readIndex() error {
	index := s.pages[indexName]
	s.order = []entry{{index.title, htmlName(indexName), index}}
	var problems []error
	listed := map[*page]bool{index: true}
	for node := index.document.FirstChild(); node != nil; node = node.NextSibling() {
		switch node := node.(type) {
		case *ast.Heading:
			if node.Level == 2 {
				s.sections = append(s.sections, section{Title: plainText(node, index.source)})
			}
		case *ast.List:
			if len(s.sections) == 0 {
				continue
			}
			last := &s.sections[len(s.sections)-1]
			for item := node.FirstChild(); item != nil; item = item.NextSibling() {
				e, err := s.entryOf(item)
				if err == nil && listed[e.page] {
					err = fmt.Errorf("page %s: it lists %s twice", indexName, e.page.name)
				}
				if err != nil {
					problems = append(problems, err)
					continue
				}
				listed[e.page] = true
				last.Entries = append(last.Entries, *e)
			}
			s.order = append(s.order, last.Entries...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.pages)) {
		if !listed[s.pages[name]] {
			problems = append(problems, fmt.Errorf("page %s: %s does not list it", name, indexName))
		}
	}
	return errors.Join(problems...)
}

func (s *site) entryOf(item ast.Node) (*entry, error) {
	source := s.pages[indexName].source
	if block := item.FirstChild(); block != nil {
		if link, ok := block.FirstChild().(*ast.Link); ok && s.pages[string(link.Destination)] != nil {
			p := s.pages[string(link.Destination)]
			return &entry{plainText(link, source), htmlName(p.name), p}, nil
		}
	}
	return nil, fmt.Errorf("page %s: item %q: want it to begin with a link to a page", indexName, plainText(item, source))
}

// view is what a page's template shows.
type view struct {
	Site       string
	Title      string
	Home       bool
	Target     string
	Sections   []section
	Headings   []heading
	Content    template.HTML
	Prev, Next *entry
}

func (s *site) render(names []string) (map[string][]byte, error) {
	layout, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	out := map[string][]byte{"style.css": style, "site.js": script}
	add := func(name string, data []byte) error {
		if _, found := out[name]; found {
			return fmt.Errorf("make site: two files are called %s", name)
		}
		out[name] = data
		return nil
	}
	for i, e := range s.order {
		content, err := e.page.render()
		if err != nil {
			return nil, err
		}
		v := view{
			Site: s.pages[indexName].title, Title: e.page.title, Home: i == 0, Target: e.Target, Sections: s.sections,
			Headings: shallow(e.page.headings),
			Content:  template.HTML(content), // goldmark has escaped it, and HTML in pages is an error
		}
		if i > 0 {
			v.Prev = &s.order[i-1]
		}
		if i+1 < len(s.order) {
			v.Next = &s.order[i+1]
		}
		var b bytes.Buffer
		if err := layout.Execute(&b, v); err != nil {
			return nil, fmt.Errorf("render page %s: %w", e.page.name, err)
		}
		if err := add(e.Target, b.Bytes()); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".md") {
			if err := add(name, s.files[name]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// shallow leaves out what is too deep for a table of contents.
func shallow(headings []heading) []heading {
	return slices.DeleteFunc(slices.Clone(headings), func(h heading) bool { return h.Level > 3 })
}
