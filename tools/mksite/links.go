package main

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/yuin/goldmark/ast"
)

// settleLinks makes links between pages lead to their HTML. Those to files of the
// repository outside of docs, which the site does not have, become plain text.
func (s *site) settleLinks(p *page) error {
	var problems []error
	var outside []*ast.Link
	err := ast.Walk(p.document, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Link:
			if isOutside(string(node.Destination)) {
				outside = append(outside, node)
				break
			}
			target, err := s.resolve(p, string(node.Destination))
			if err != nil {
				problems = append(problems, err)
			}
			node.Destination = []byte(target)
		case *ast.AutoLink:
			if _, err := s.resolve(p, string(node.URL(p.source))); err != nil {
				problems = append(problems, err)
			}
		case *ast.Image:
			name := string(node.Destination)
			if _, found := s.files[name]; !found || strings.HasSuffix(name, ".md") {
				problems = append(problems, fmt.Errorf("page %s: image %q: there is no such file", p.name, name))
			}
		}
		return ast.WalkContinue, nil
	})
	for _, link := range outside {
		parent := link.Parent()
		for child := link.FirstChild(); child != nil; child = link.FirstChild() {
			parent.InsertBefore(parent, link, child)
		}
		parent.RemoveChild(parent, link)
	}
	return errors.Join(append(problems, err)...)
}

// isOutside tells of a relative link that leads out of docs.
func isOutside(target string) bool { return strings.HasPrefix(path.Clean(target), "../") }

// resolve gives a link as the site has it.
func (s *site) resolve(p *page, target string) (string, error) {
	dead := func(why string) error { return fmt.Errorf("page %s: link %q: %s", p.name, target, why) }
	u, err := url.Parse(target)
	if err != nil {
		return "", dead("it is no URL")
	}
	switch {
	case u.Scheme == "https" || u.Scheme == "http" || u.Scheme == "mailto":
		return target, nil
	case u.Scheme != "" || u.Host != "" || u.RawQuery != "" || path.IsAbs(u.Path):
		return "", dead("want a relative one, or one with http, https or mailto")
	}
	to := p
	if u.Path != "" {
		name := path.Clean(u.Path)
		to = s.pages[name]
		if _, found := s.files[name]; !found {
			return "", dead("there is no page or file " + name)
		}
		u.Path = name
		if to != nil {
			u.Path = htmlName(name)
		}
	}
	if u.Fragment != "" && (to == nil || !to.anchors[u.Fragment]) {
		return "", dead("there is no heading #" + u.Fragment)
	}
	return u.String(), nil
}
