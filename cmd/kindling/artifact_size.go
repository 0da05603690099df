package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system/bundle"
)

func artifactSizeCommand() *cobra.Command {
	var format *string
	cmd := &cobra.Command{
		Use:   "size [flags] FILE...",
		Short: "Show what takes the space",
		Long: `Show what takes the space: of an initrd, its segments, as stored and unpacked,
then the folders at its top and then all files, the largest first; of a set, the
same of its files. What a later entry overrides counts too, since it is stored.
Headers and padding of the archives belong to segments alone.

With -o json, a list of objects, one a FILE:
  path, kind (initrd, kernel, set, or the kind of a set's file), stored, unpacked
  segments  of an initrd: index, compression, stored, unpacked
  folders   of an initrd: name ("." has the files at the top), files (their
            number), unpacked
  files     of an initrd: name, segment, unpacked
  parts     of a set: such objects of its files, with arch`,
		Example: `  kindling artifact size initrd`,
		Args:    usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var reports []*sizeReport
			for _, path := range args {
				err := withArtifact(path, func(a *artifact) error {
					report, err := a.measure()
					reports = append(reports, report)
					return err
				})
				if err != nil {
					return err
				}
			}
			return printReport(cmd.OutOrStdout(), *format, reports, func(w io.Writer) {
				for i, report := range reports {
					if i > 0 {
						fmt.Fprintln(w)
					}
					report.print(w)
				}
			})
		},
	}
	format = addOutput(cmd)
	return cmd
}

// sizeReport is what size says about a file.
type sizeReport struct {
	Path     string        `json:"path"`
	Kind     artifactKind  `json:"kind"`
	Arch     string        `json:"arch,omitempty"` // of a set's file
	Stored   int64         `json:"stored"`
	Unpacked int64         `json:"unpacked"`
	Segments []segmentSize `json:"segments,omitempty"`
	Folders  []*folderSize `json:"folders,omitempty"`
	Files    []fileSize    `json:"files,omitempty"`
	Parts    []*sizeReport `json:"parts,omitempty"`
}

type segmentSize struct {
	Index       int    `json:"index"`
	Compression string `json:"compression"`
	Stored      int64  `json:"stored"`
	Unpacked    int64  `json:"unpacked"`
}

type folderSize struct {
	Name     string `json:"name"`
	Files    int    `json:"files"`
	Unpacked int64  `json:"unpacked"`
}

type fileSize struct {
	Name     string `json:"name"`
	Segment  int    `json:"segment"`
	Unpacked int64  `json:"unpacked"`
}

func (a *artifact) measure() (*sizeReport, error) {
	report := &sizeReport{Path: a.path, Kind: a.kind, Stored: a.size, Unpacked: a.size}
	switch a.kind {
	case kindInitrd:
		return report, a.fail(report.measureInitrd(a))
	case kindKernel:
		kernel, err := kernelimage.Unpack(a.file, a.size)
		report.Unpacked = int64(len(kernel))
		return report, a.fail(err)
	case kindSet:
		return report, report.measureSet(a)
	default:
		return report, nil
	}
}

func (r *sizeReport) measureInitrd(a *artifact) error {
	folders := map[string]*folderSize{}
	segments, err := initramfs.Walk(a.file, a.size, func(entry *initramfs.Entry, _ io.Reader) error {
		if entry.Mode&initramfs.TypeMask != initramfs.TypeRegular {
			return nil
		}
		name := strings.TrimPrefix(path.Clean("/"+entry.Name), "/")
		top, _, below := strings.Cut(name, "/")
		if !below {
			top = "."
		}
		if folders[top] == nil {
			folders[top] = &folderSize{Name: top}
		}
		folders[top].Files++
		folders[top].Unpacked += entry.Size
		r.Files = append(r.Files, fileSize{name, entry.Segment, entry.Size})
		return nil
	})
	if err != nil {
		return err
	}
	r.Unpacked = 0
	for _, s := range segments {
		r.Segments = append(r.Segments, segmentSize{s.Index, s.Compression, s.StoredSize, s.Size})
		r.Unpacked += s.Size
	}
	r.Folders = slices.SortedFunc(maps.Values(folders), func(a, b *folderSize) int {
		return cmp.Or(cmp.Compare(b.Unpacked, a.Unpacked), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(r.Files, func(a, b fileSize) int {
		return cmp.Or(cmp.Compare(b.Unpacked, a.Unpacked), strings.Compare(a.Name, b.Name), cmp.Compare(a.Segment, b.Segment))
	})
	return nil
}

func (r *sizeReport) measureSet(a *artifact) error {
	r.Stored, r.Unpacked = 0, 0
	for _, arch := range a.manifest.Architectures {
		files := slices.SortedFunc(slices.Values(arch.Files), func(a, b bundle.File) int {
			return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name))
		})
		for _, file := range files {
			err := a.withFile(file, func(inner *artifact) error {
				part, err := inner.measure()
				if err != nil {
					return err
				}
				part.Path, part.Arch = file.Name, arch.Arch
				r.Parts = append(r.Parts, part)
				r.Stored += part.Stored
				r.Unpacked += part.Unpacked
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *sizeReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s %s: %d bytes, %d unpacked\n", r.Kind, r.Path, r.Stored, r.Unpacked)
	if r.Segments != nil {
		fmt.Fprintf(w, "%12s %12s  %s\n", "STORED", "UNPACKED", "SEGMENT")
	}
	for _, s := range r.Segments {
		fmt.Fprintf(w, "%12d %12d  %d, %s\n", s.Stored, s.Unpacked, s.Index, cmp.Or(s.Compression, "not compressed"))
	}
	if r.Folders != nil {
		fmt.Fprintf(w, "%12s %12s  %s\n", "FILES", "UNPACKED", "FOLDER")
	}
	for _, folder := range r.Folders {
		fmt.Fprintf(w, "%12d %12d  %s\n", folder.Files, folder.Unpacked, printable(folder.Name))
	}
	if r.Files != nil {
		fmt.Fprintf(w, "%12s %12s  %s\n", "SEGMENT", "UNPACKED", "FILE")
	}
	for _, file := range r.Files {
		fmt.Fprintf(w, "%12d %12d  %s\n", file.Segment, file.Unpacked, printable(file.Name))
	}
	for _, part := range r.Parts {
		fmt.Fprintf(w, "\n%s ", part.Arch)
		part.print(w)
	}
}
