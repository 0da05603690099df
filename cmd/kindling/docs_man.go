package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/markdown"
)

// manName is the name of a command's man page.
func manName(path string) string { return strings.ReplaceAll(path, " ", "-") }

// manPage is a command's page for man(1), in the macros of man(7). It has no
// date, so that it is the same whenever it is made.
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	name := manName(cmd.CommandPath())
	fmt.Fprintf(&b, ".TH %s 1 \"\" Kindling \"Kindling Manual\"\n", strings.ToUpper(roff(name)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	if cmd.Runnable() {
		b.WriteString(".SH SYNOPSIS\n.nf\n")
		for _, form := range synopsis(cmd) {
			b.WriteString(roff(form) + "\n")
		}
		b.WriteString(".fi\n")
	}
	b.WriteString(".SH DESCRIPTION\n")
	manBlocks(&b, longText(cmd))
	if flags := flagTexts(cmd); flags != nil {
		b.WriteString(".SH OPTIONS\n")
		for _, flag := range flags {
			manFlag(&b, flag)
		}
	}
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		manBlocks(&b, markdown.Blocks(cmd.Example))
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, cmd.Parent().CommandPath())
	}
	for _, child := range shown(cmd) {
		also = append(also, child.CommandPath())
	}
	for i, path := range also {
		also[i] = fmt.Sprintf(".BR %s (1)", roff(manName(path)))
	}
	if also != nil {
		b.WriteString(".SH SEE ALSO\n" + strings.Join(also, " ,\n") + "\n")
	}
	return b.String()
}

func manBlocks(b *strings.Builder, blocks []markdown.Block) {
	for i, block := range blocks {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if block.Verbatim {
			fmt.Fprintf(b, ".RS 4\n.nf\n%s\n.fi\n.RE\n", roff(block.Text))
		} else {
			fmt.Fprintf(b, "%s\n", roff(block.Text))
		}
	}
}

func manFlag(b *strings.Builder, flag flagText) {
	names := make([]string, len(flag.names))
	for i, name := range flag.names {
		names[i] = `\fB` + roff(name) + `\fR`
	}
	fmt.Fprintf(b, ".TP\n%s", strings.Join(names, ", "))
	if flag.argument != "" {
		fmt.Fprintf(b, ` \fI%s\fR`, roff(flag.argument))
	}
	fmt.Fprintf(b, "\n%s\n", roff(flag.meaning))
	if flag.variable != "" {
		fmt.Fprintf(b, ".br\nEnvironment: %s\n", roff(flag.variable))
	}
}

// roff is a text that troff sets as it is. Source: groff(7), escapes and
// control lines.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", "\\`", `^`, `\(ha`, `~`, `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
