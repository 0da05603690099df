package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html"
	"strconv"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	renderer "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
)

// unbroken is the length of code, in bytes, up to which it stays on one line in a
// table. Longer code would push other columns out of sight.
const unbroken = 32

var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM))

// page is a document, parsed.
type page struct {
	name     string // NAME.md
	title    string
	source   []byte
	document ast.Node
	headings []heading // but the title
	anchors  map[string]bool
}

// heading is a heading of level 2 or more.
type heading struct {
	Level  int
	Anchor string
	Text   string
	node   *ast.Heading
}

// htmlName is the file of a page in the site.
func htmlName(name string) string { return strings.TrimSuffix(name, ".md") + ".html" }

// parsePage parses a document and names its headings.
func parsePage(name string, source []byte) (*page, error) {
	p := &page{name: name, source: source, anchors: map[string]bool{}}
	p.document = markdown.Parser().Parse(text.NewReader(source))
	var problems []error
	err := ast.Walk(p.document, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Heading:
			if err := p.addHeading(node); err != nil {
				problems = append(problems, err)
			}
		case *ast.CodeSpan:
			if _, inTable := node.Parent().(*tables.TableCell); inTable && len(plainText(node, source)) <= unbroken {
				node.SetAttributeString("class", []byte("unbroken"))
			}
		case *ast.RawHTML:
			problems = append(problems, fmt.Errorf("page %s: HTML %q: want it in backquotes", name, node.Segments.Value(source)))
		case *ast.HTMLBlock:
			problems = append(problems, fmt.Errorf("page %s: HTML %q: want it in a code block", name, firstLine(node, source)))
		}
		return ast.WalkContinue, nil
	})
	if p.title == "" {
		problems = append(problems, fmt.Errorf("page %s: it has no title: want it to begin with one # heading", name))
	}
	return p, errors.Join(append(problems, err)...)
}

func (p *page) addHeading(node *ast.Heading) error {
	label := strings.TrimSpace(plainText(node, p.source))
	anchor := p.anchor(label)
	node.SetAttributeString("id", []byte(anchor))
	switch {
	case label == "":
		return fmt.Errorf("page %s: a heading has no text", p.name)
	case (node.Level == 1) != (p.title == ""):
		return fmt.Errorf("page %s: heading %q: want one # heading, the first", p.name, label)
	case node.Level == 1:
		p.title = label
	default:
		p.headings = append(p.headings, heading{node.Level, anchor, label, node})
	}
	return nil
}

// anchor names a heading as GitHub does, where the same documents are read: in
// lower case, with hyphens for spaces, without punctuation; the second of a name
// gets -1.
func (p *page) anchor(label string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return '-'
		case r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, label)
	unique := name
	for n := 1; p.anchors[unique]; n++ {
		unique = name + "-" + strconv.Itoa(n)
	}
	p.anchors[unique] = true
	return unique
}

// render gives the HTML of a document, with a link to each heading beside it.
func (p *page) render() ([]byte, error) {
	for _, h := range p.headings {
		link := ast.NewLink()
		link.Destination = []byte("#" + h.Anchor)
		link.Title = []byte("Link to this section")
		link.SetAttributeString("class", []byte("anchor"))
		link.AppendChild(link, ast.NewString([]byte("#")))
		h.node.AppendChild(h.node, link)
	}
	var b bytes.Buffer
	if err := markdown.Renderer().Render(&b, p.source, p.document); err != nil {
		return nil, fmt.Errorf("render page %s: %w", p.name, err)
	}
	return b.Bytes(), nil
}

// plainText is what a reader sees of a node.
func plainText(node ast.Node, source []byte) string {
	var b strings.Builder
	for child := node.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			if child.Parent().Kind() == ast.KindCodeSpan {
				b.Write(child.Value(source))
			} else {
				// Only the renderer's writer knows which backslashes and entities count.
				var escaped bytes.Buffer
				buffer := bufio.NewWriter(&escaped)
				renderer.DefaultWriter.Write(buffer, child.Value(source))
				if err := buffer.Flush(); err != nil {
					panic(err) // a bytes.Buffer takes all
				}
				b.WriteString(html.UnescapeString(escaped.String()))
			}
			if child.SoftLineBreak() || child.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(child.Value)
		case *ast.AutoLink:
			b.Write(child.Label(source))
		default:
			b.WriteString(plainText(child, source))
		}
	}
	return b.String()
}

func firstLine(node ast.Node, source []byte) string {
	lines := node.Lines()
	if lines.Len() == 0 {
		return ""
	}
	segment := lines.At(0)
	return strings.TrimSpace(string(segment.Value(source)))
}
