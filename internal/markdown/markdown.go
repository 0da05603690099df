// Package markdown writes pieces of Markdown, as CommonMark and GitHub's tables
// have it, of which the meaning is plain text. It reads none.
package markdown

import (
	"fmt"
	"slices"
	"strings"
)

// punctuation is all of ASCII's, each of which a backslash makes an ordinary
// character. Source: CommonMark 0.31, section 2.4.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// Text is Markdown that means a text, character by character. Its line ends stay.
func Text(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(punctuation, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Code is a code span of a text without backquotes and line ends, also in a cell
// of a table.
func Code(text string) string {
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// Prose is Markdown of a text in which only pairs of backquotes have a meaning:
// what is between them is code.
func Prose(text string) string {
	parts := strings.Split(text, "`")
	if len(parts)%2 == 0 {
		return Text(text)
	}
	for i := range parts {
		if i%2 == 0 {
			parts[i] = Text(parts[i])
		} else {
			parts[i] = Code(parts[i])
		}
	}
	return strings.Join(parts, "")
}

// CodeBlock is a fenced block of a text.
func CodeBlock(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fmt.Sprintf("%s\n%s\n%s\n", fence, strings.TrimRight(text, "\n"), fence)
}

// Table is a table of cells that are Markdown. A line end in a cell becomes a
// space.
func Table(header []string, rows [][]string) string {
	var b strings.Builder
	separator := slices.Repeat([]string{"---"}, len(header))
	for _, row := range slices.Concat([][]string{header, separator}, rows) {
		for _, cell := range row {
			b.WriteString("| " + strings.Join(strings.Fields(cell), " ") + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// Block is a part of a text: a paragraph, or lines that are to stay as they are.
type Block struct {
	Text     string
	Verbatim bool
}

// Blocks takes a plain text apart: indented lines are verbatim, without the
// indent that all of a block have; others are paragraphs.
func Blocks(text string) []Block {
	var blocks []Block
	open := false // the last block goes on
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\n")
		verbatim := line != strings.TrimLeft(line, " \t")
		switch {
		case line == "":
			open = false
			continue
		case !open || blocks[len(blocks)-1].Verbatim != verbatim:
			blocks = append(blocks, Block{line, verbatim})
		default:
			blocks[len(blocks)-1].Text += "\n" + line
		}
		open = true
	}
	for i := range blocks {
		if blocks[i].Verbatim {
			blocks[i].Text = dedent(blocks[i].Text)
		}
	}
	return blocks
}

// dedent takes away the white space that all lines begin with.
func dedent(text string) string {
	lines := strings.Split(text, "\n")
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " \t"))]
	for _, line := range lines {
		for !strings.HasPrefix(line, indent) {
			indent = indent[:len(indent)-1]
		}
	}
	for i := range lines {
		lines[i] = lines[i][len(indent):]
	}
	return strings.Join(lines, "\n")
}
