package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kindling-vm/kindling/internal/markdown"
)

// docsCommand makes what describes this program from its tree of commands. It
// is for packagers and for the build.
func docsCommand() *cobra.Command {
	docs := &cobra.Command{
		Use:    "docs",
		Short:  "Write the reference of all verbs",
		Hidden: true,
		Args:   usage(cobra.NoArgs),
		RunE:   func(*cobra.Command, []string) error { return usageError{errors.New("want docs man or docs markdown")} },
	}
	docs.AddCommand(&cobra.Command{
		Use:   "man FOLDER",
		Short: "Write a man page for each verb",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make folder of man pages: %w", err)
			}
			for _, page := range documented(cmd.Root()) {
				name := filepath.Join(args[0], manName(page.CommandPath())+".1")
				if err := writeDocument(name, manPage(page)); err != nil {
					return err
				}
			}
			return nil
		},
	}, &cobra.Command{
		Use:   "markdown FILE",
		Short: "Write one Markdown document of all verbs",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeDocument(args[0], markdownReference(cmd.Root()))
		},
	})
	return docs
}

func writeDocument(name, text string) error {
	options := []renameio.Option{renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(0o644)}
	if err := renameio.WriteFile(name, []byte(text), 0o644, options...); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// documented are a command and all below it that help shows, each before its
// own.
func documented(cmd *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{cmd}
	for _, child := range shown(cmd) {
		found = append(found, documented(child)...)
	}
	return found
}

// shown are the verbs and topics of a command that help shows, by name.
func shown(cmd *cobra.Command) []*cobra.Command {
	children := slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool {
		return !c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() || c.Hidden
	})
	slices.SortFunc(children, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	return children
}

// synopsis is the usage of a command, a line for each of its forms.
func synopsis(cmd *cobra.Command) []string {
	var forms []string
	for form := range strings.SplitSeq(cmd.UseLine(), "\n") {
		forms = append(forms, strings.TrimSpace(form))
	}
	return forms
}

// longText is what there is to say about a command.
func longText(cmd *cobra.Command) []markdown.Block {
	return markdown.Blocks(cmp.Or(cmd.Long, cmd.Short+"."))
}

// flagText is what a reference says about a flag.
type flagText struct {
	names    []string // as on the command line
	argument string   // "" takes none
	variable string   // of the environment, "" is none
	meaning  string
}

// variableSuffix is what addEnvironment appends to a flag's description.
var variableSuffix = regexp.MustCompile(` \[(KINDLING_[A-Z0-9_]+)\]$`)

// flagTexts has all flags of a command but --help, which every one has.
func flagTexts(cmd *cobra.Command) []flagText {
	var texts []flagText
	cmd.NonInheritedFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		var text flagText
		if flag.Shorthand != "" {
			text.names = append(text.names, "-"+flag.Shorthand)
		}
		text.names = append(text.names, "--"+flag.Name)
		text.argument, text.meaning = pflag.UnquoteUsage(flag)
		if match := variableSuffix.FindStringSubmatch(text.meaning); match != nil {
			text.variable, text.meaning = match[1], strings.TrimSuffix(text.meaning, match[0])
		}
		if !slices.Contains([]string{"", "0", "0s", "[]", "false"}, flag.DefValue) {
			text.meaning += fmt.Sprintf(" (default: %s)", flag.DefValue)
		}
		texts = append(texts, text)
	})
	return texts
}
