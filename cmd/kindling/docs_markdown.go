package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/markdown"
)

// markdownReference is one document with a section for each command.
func markdownReference(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Command line\n\n%s", markdownBlocks(root))
	b.WriteString("\n" + markdown.Text("Every verb has the flag -h, --help.") + "\n\n")
	b.WriteString(markdownVerbs(root))
	for _, cmd := range documented(root)[1:] {
		fmt.Fprintf(&b, "\n## %s\n\n", markdown.Text(cmd.CommandPath()))
		if cmd.Runnable() {
			b.WriteString(markdown.CodeBlock(strings.Join(synopsis(cmd), "\n")) + "\n")
		}
		b.WriteString(markdownBlocks(cmd))
		if verbs := markdownVerbs(cmd); verbs != "" {
			b.WriteString("\n" + verbs)
		}
		if flags := markdownFlags(cmd); flags != "" {
			b.WriteString("\n" + flags)
		}
		if cmd.Example != "" {
			b.WriteString("\nFor example:\n\n")
			for _, block := range markdown.Blocks(cmd.Example) {
				b.WriteString(markdown.CodeBlock(block.Text))
			}
		}
	}
	return b.String()
}

func markdownBlocks(cmd *cobra.Command) string {
	var parts []string
	for _, block := range longText(cmd) {
		if block.Verbatim {
			parts = append(parts, markdown.CodeBlock(block.Text))
		} else {
			parts = append(parts, markdown.Text(block.Text)+"\n")
		}
	}
	return strings.Join(parts, "\n")
}

// markdownVerbs lists what is below a command, with links into the document:
// GitHub's anchors, which have words in lower case and hyphens between them.
func markdownVerbs(cmd *cobra.Command) string {
	var rows [][]string
	for _, child := range shown(cmd) {
		anchor := strings.ReplaceAll(strings.ToLower(child.CommandPath()), " ", "-")
		link := fmt.Sprintf("[%s](#%s)", markdown.Text(child.CommandPath()), anchor)
		rows = append(rows, []string{link, markdown.Text(child.Short)})
	}
	if rows == nil {
		return ""
	}
	return markdown.Table([]string{"verb", ""}, rows)
}

func markdownFlags(cmd *cobra.Command) string {
	var rows [][]string
	for _, flag := range flagTexts(cmd) {
		names := make([]string, len(flag.names))
		for i, name := range flag.names {
			names[i] = markdown.Code(name)
		}
		syntax, meaning := strings.Join(names, ", "), markdown.Text(flag.meaning)
		if flag.argument != "" {
			syntax += " " + markdown.Code(flag.argument)
		}
		if flag.variable != "" {
			meaning += " " + markdown.Code(flag.variable)
		}
		rows = append(rows, []string{syntax, meaning})
	}
	if rows == nil {
		return ""
	}
	return markdown.Table([]string{"flag", ""}, rows)
}
