package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// exitDiffers is the exit code of a diff that found something, as diff(1) has it.
const exitDiffers = 1

func artifactDiffCommand() *cobra.Command {
	var format *string
	cmd := &cobra.Command{
		Use:   "diff [flags] A B",
		Short: "Show in what two kernels, initrds or artifact sets differ",
		Long: `Show in what two kernels, initrds or artifact sets differ: of initrds, the files
as the guest will see them, and of a changed Go program its modules, as far as it
names them; of kernels, release, format and embedded configuration; of sets, the
files that changed, in what they differ, and the components of their SBOM.

Exit codes are those of diff: 0 where A and B have the same bytes, 1 where they
differ. Others are kindling's own.

With -o json, an object:
  kind, a, b, same (whether all bytes are)
  properties  what A and B are as a whole: name, old, new
  config      of kernels: symbols of the configuration: name, old, new
  components  of SBOMs: name, old and new version
  entries     of initrds and sets: name, change (added, removed or changed),
              properties, modules (of a Go program: name, old and new version;
              "go" is the toolchain), and diff, such an object of a set's file
What A or B does not have is "".`,
		Example: `  kindling artifact diff before/initrd after/initrd
  kindling artifact diff -o json before/manifest.json after/manifest.json`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var report *diffReport
			err := withArtifact(args[0], func(a *artifact) error {
				return withArtifact(args[1], func(b *artifact) (err error) {
					report, err = a.diff(b)
					return err
				})
			})
			if err != nil {
				return err
			}
			if err := printReport(cmd.OutOrStdout(), *format, report, func(w io.Writer) { report.print(w, "") }); err != nil {
				return err
			}
			if !report.Same {
				return commandExit{code: exitDiffers}
			}
			return nil
		},
	}
	format = addOutput(cmd)
	return cmd
}

// diffReport is in what two files differ.
type diffReport struct {
	Kind       artifactKind `json:"kind"`
	A          string       `json:"a"`
	B          string       `json:"b"`
	Same       bool         `json:"same"`
	Properties []delta      `json:"properties,omitempty"`
	Config     []delta      `json:"config,omitempty"`
	Components []delta      `json:"components,omitempty"`
	Entries    []entryDiff  `json:"entries,omitempty"`
}

// delta is a property that has two values; one that is not there is "".
type delta struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// entryDiff is an entry of an initrd, or a file of a set, that only one has or
// that differs.
type entryDiff struct {
	Name       string      `json:"name"`
	Change     change      `json:"change"`
	Properties []delta     `json:"properties,omitempty"`
	Modules    []delta     `json:"modules,omitempty"`
	Diff       *diffReport `json:"diff,omitempty"`
}

type change string

const (
	changeAdded    change = "added"
	changeRemoved  change = "removed"
	changeModified change = "changed"
)

// diff compares a file or set with another of its kind.
func (a *artifact) diff(b *artifact) (*diffReport, error) {
	if a.kind != b.kind {
		return nil, usageError{fmt.Errorf("cannot compare %s, which is of kind %s, with %s, which is of kind %s",
			a.path, a.kind, b.path, b.kind)}
	}
	report := &diffReport{Kind: a.kind, A: a.path, B: b.path}
	if a.kind == kindSet {
		return report, report.diffSets(a, b)
	}
	var sums [2]string
	for i, file := range []*artifact{a, b} {
		hash := sha256.New()
		if _, err := io.Copy(hash, io.NewSectionReader(file.file, 0, file.size)); err != nil {
			return nil, file.fail(err)
		}
		sums[i] = hex.EncodeToString(hash.Sum(nil))
	}
	report.Same = sums[0] == sums[1]
	if report.Same {
		return report, nil
	}
	report.Properties = deltas([]string{"size", "sha256"},
		[]string{fmt.Sprint(a.size), sums[0]}, []string{fmt.Sprint(b.size), sums[1]})
	switch a.kind {
	case kindInitrd:
		return report, report.diffInitrds(a, b)
	case kindKernel:
		return report, report.diffKernels(a, b)
	case kindSBOM:
		return report, report.diffSBOMs(a, b)
	default:
		return report, nil
	}
}

// deltas are the names whose values differ.
func deltas(names, before, after []string) []delta {
	var list []delta
	for i, name := range names {
		if before[i] != after[i] {
			list = append(list, delta{name, before[i], after[i]})
		}
	}
	return list
}

// mapDeltas are the keys whose values differ, sorted.
func mapDeltas(before, after map[string]string) []delta {
	var list []delta
	for _, name := range sortedKeys(before, after) {
		if before[name] != after[name] {
			list = append(list, delta{name, before[name], after[name]})
		}
	}
	return list
}

func (r *diffReport) print(w io.Writer, indent string) {
	if r.Same {
		fmt.Fprintf(w, "%s%s: no difference\n", indent, r.Kind)
		return
	}
	fmt.Fprintf(w, "%s--- %s %s\n%s+++ %s %s\n", indent, r.Kind, r.A, indent, r.Kind, r.B)
	printDeltas(w, indent+"  ", "", r.Properties)
	printDeltas(w, indent+"  ", "", r.Config)
	printDeltas(w, indent+"  ", "component ", r.Components)
	for _, entry := range r.Entries {
		sign := map[change]string{changeAdded: "+", changeRemoved: "-", changeModified: "~"}[entry.Change]
		fmt.Fprintf(w, "%s%s %s\n", indent, sign, printable(entry.Name))
		printDeltas(w, indent+"    ", "", entry.Properties)
		printDeltas(w, indent+"    ", "Go module ", entry.Modules)
		if entry.Diff != nil {
			entry.Diff.print(w, indent+"    ")
		}
	}
}

func printDeltas(w io.Writer, indent, prefix string, list []delta) {
	for _, d := range list {
		before, after := d.Old, d.New
		if d.Name == "sha256" { // enough to tell two files apart
			before, after = before[:min(12, len(before))], after[:min(12, len(after))]
		}
		fmt.Fprintf(w, "%s%s%s: %s\n", indent, prefix, d.Name, arrow(before, after))
	}
}

// arrow says how a value changed.
func arrow(before, after string) string {
	switch {
	case before == "":
		return "+ " + printable(after)
	case after == "":
		return "- " + printable(before)
	default:
		return printable(before) + " -> " + printable(after)
	}
}
