package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/internal/initramfs"
	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system/bundle"
)

func artifactLsCommand() *cobra.Command {
	var format *string
	cmd := &cobra.Command{
		Use:   "ls [flags] FILE...",
		Short: "List what is in a kernel, initrd or artifact set",
		Long: `List what is in a kernel, initrd or artifact set: of an initrd, every entry of
every segment as it is stored, though a later entry may override an earlier one;
of a kernel, its format, release and what can load it; of a set, its files.

With -o json, a list of objects, one a FILE:
  path, kind (initrd, kernel or set), size
  segments  of an initrd: index, offset, storedSize, padding, compression (gzip,
            zstd or ""), size (unpacked), and entries: name, mode, uid, gid,
            nlink, size, target (of a link), device (MAJOR:MINOR)
  kernel    format (elf, bzImage, arm64-image, arm64-image.gz or arm64-zboot),
            compression, arch, release, banner, pvh, configSymbols (0 when no
            configuration is embedded), hypervisors, and payload, the kernel
            inside if it is compressed
  set       id, and manifest as in manifest.json`,
		Example: `  kindling artifact ls initrd
  kindling artifact ls -o json /boot/vmlinuz`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var listings []*listing
			for _, path := range args {
				err := withArtifact(path, func(a *artifact) error {
					listing, err := a.list()
					listings = append(listings, listing)
					return err
				})
				if err != nil {
					return err
				}
			}
			return printReport(cmd.OutOrStdout(), *format, listings, func(w io.Writer) {
				for i, listing := range listings {
					if i > 0 {
						fmt.Fprintln(w)
					}
					listing.print(w)
				}
			})
		},
	}
	format = addOutput(cmd)
	return cmd
}

// listing is what ls says about a file.
type listing struct {
	Path     string            `json:"path"`
	Kind     artifactKind      `json:"kind"`
	Size     int64             `json:"size"`
	Segments []*segmentListing `json:"segments,omitempty"`
	Kernel   *kernelListing    `json:"kernel,omitempty"`
	Set      *setListing       `json:"set,omitempty"`
}

type segmentListing struct {
	Index       int            `json:"index"`
	Offset      int64          `json:"offset"`
	StoredSize  int64          `json:"storedSize"`
	Padding     int64          `json:"padding"`
	Compression string         `json:"compression"`
	Size        int64          `json:"size"`
	Entries     []entryListing `json:"entries"`
}

type entryListing struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Nlink  uint32 `json:"nlink"`
	Size   int64  `json:"size"`
	Target string `json:"target,omitempty"`
	Device string `json:"device,omitempty"`

	bits uint32 // Mode as a number
}

type kernelListing struct {
	Format        kernelimage.Format       `json:"format"`
	Compression   string                   `json:"compression"`
	Arch          string                   `json:"arch"`
	Release       string                   `json:"release"`
	Banner        string                   `json:"banner"`
	PVH           bool                     `json:"pvh"`
	ConfigSymbols int                      `json:"configSymbols"`
	Hypervisors   []kernelimage.Hypervisor `json:"hypervisors"`
	Payload       *kernelListing           `json:"payload,omitempty"`

	config map[string]string // symbol -> value
}

type setListing struct {
	ID       string           `json:"id"`
	Manifest *bundle.Manifest `json:"manifest"`
}

func (a *artifact) list() (l *listing, err error) {
	l = &listing{Path: a.path, Kind: a.kind, Size: a.size}
	switch a.kind {
	case kindInitrd:
		l.Segments, err = a.listInitrd()
	case kindKernel:
		l.Kernel, err = a.listKernel()
	case kindSet:
		l.Set = &setListing{Manifest: a.manifest}
		l.Set.ID, err = a.manifest.ID()
		l.Size = 0
		for _, arch := range a.manifest.Architectures {
			for _, file := range arch.Files {
				l.Size += file.Size
			}
		}
	}
	return l, a.fail(err)
}

func (a *artifact) listInitrd() ([]*segmentListing, error) {
	entries := map[int][]entryListing{}
	segments, err := initramfs.Walk(a.file, a.size, func(entry *initramfs.Entry, _ io.Reader) error {
		entries[entry.Segment] = append(entries[entry.Segment], entryListing{
			Name: entry.Name, Mode: octal(entry.Mode), UID: entry.UID, GID: entry.GID, Nlink: entry.Nlink,
			Size: entry.Size, Target: entry.Target, Device: device(entry), bits: entry.Mode,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	var listings []*segmentListing
	for _, s := range segments {
		listings = append(listings, &segmentListing{
			s.Index, s.Offset, s.StoredSize, s.Padding, s.Compression, s.Size, append([]entryListing{}, entries[s.Index]...),
		})
	}
	return listings, nil
}

func octal(mode uint32) string { return fmt.Sprintf("%07o", mode) }

// device is the number of a device, or "".
func device(entry *initramfs.Entry) string {
	switch entry.Mode & initramfs.TypeMask {
	case initramfs.TypeCharDevice, initramfs.TypeBlockDevice:
		return fmt.Sprintf("%d:%d", entry.RdevMajor, entry.RdevMinor)
	default:
		return ""
	}
}

func (a *artifact) listKernel() (*kernelListing, error) {
	info, err := kernelimage.Inspect(a.file, a.size)
	if err != nil {
		return nil, err
	}
	outer := newKernelListing(info)
	if info.Compression == "" {
		return outer, nil
	}
	payload, err := kernelimage.Unpack(a.file, a.size)
	if err != nil {
		return nil, err
	}
	inner, err := kernelimage.Inspect(bytes.NewReader(payload), int64(len(payload)))
	if err != nil {
		return nil, fmt.Errorf("read what it unpacks to: %w", err)
	}
	outer.Payload = newKernelListing(inner)
	return outer, nil
}

func newKernelListing(info *kernelimage.Info) *kernelListing {
	config := configSymbols(info.Config)
	return &kernelListing{
		Format: info.Format, Compression: info.Compression, Arch: info.Arch, Release: info.Release, Banner: info.Banner, PVH: info.PVH,
		ConfigSymbols: len(config), config: config, Hypervisors: append([]kernelimage.Hypervisor{}, info.Hypervisors()...),
	}
}

func (l *listing) print(w io.Writer) {
	fmt.Fprintf(w, "%s %s: %d bytes\n", l.Kind, l.Path, l.Size)
	for _, s := range l.Segments {
		fmt.Fprintf(w, "segment %d: %s, %d bytes at %d, %d unpacked, %d entries\n",
			s.Index, cmp.Or(s.Compression, "not compressed"), s.StoredSize, s.Offset, s.Size, len(s.Entries))
		for _, e := range s.Entries {
			fmt.Fprintf(w, "%s %4d %5d %5d %10s %s", modeString(e.bits), e.Nlink, e.UID, e.GID,
				cmp.Or(e.Device, fmt.Sprint(e.Size)), printable(e.Name))
			if e.Target != "" {
				fmt.Fprintf(w, " -> %s", printable(e.Target))
			}
			fmt.Fprintln(w)
		}
	}
	if l.Kernel != nil {
		l.Kernel.print(w, "")
	}
	if l.Set != nil {
		fmt.Fprintf(w, "id              %s\nagent protocol  %s\n", l.Set.ID, l.Set.Manifest.AgentProtocol)
		for _, arch := range l.Set.Manifest.Architectures {
			fmt.Fprintf(w, "%s: command line %q\n", arch.Arch, arch.CommandLine)
			for _, file := range arch.Files {
				fmt.Fprintf(w, "  %-12s %12d  %s  %s\n", file.Kind, file.Size, file.SHA256, file.Name)
			}
		}
	}
}

func (k *kernelListing) print(w io.Writer, indent string) {
	config := "not embedded"
	if k.ConfigSymbols > 0 {
		config = fmt.Sprintf("embedded, %d symbols", k.ConfigSymbols)
	}
	for _, line := range []struct{ name, value string }{
		{"format", string(k.Format)},
		{"compression", cmp.Or(k.Compression, "none")},
		{"architecture", k.Arch},
		{"release", cmp.Or(k.Release, "none found")},
		{"banner", cmp.Or(k.Banner, "none found")},
		{"PVH note", map[bool]string{true: "yes", false: "no"}[k.PVH]},
		{"configuration", config},
		{"loaded by", k.loadedBy()},
	} {
		fmt.Fprintf(w, "%s%-14s  %s\n", indent, line.name, line.value)
	}
	if k.Payload != nil {
		fmt.Fprintf(w, "%spayload\n", indent)
		k.Payload.print(w, indent+"  ")
	}
}

// loadedBy names the hypervisors that load the kernel.
func (k *kernelListing) loadedBy() string {
	var names []string
	for _, hypervisor := range k.Hypervisors {
		names = append(names, string(hypervisor))
	}
	return cmp.Or(strings.Join(names, ", "), "no hypervisor")
}

// printable quotes what would do something to a terminal.
func printable(text string) string {
	if strings.ContainsFunc(text, func(char rune) bool { return !unicode.IsPrint(char) }) {
		return strconv.Quote(text)
	}
	return text
}

// modeString is a mode as ls -l prints it.
func modeString(mode uint32) string {
	kinds := map[uint32]byte{
		initramfs.TypeSocket: 's', initramfs.TypeSymlink: 'l', initramfs.TypeRegular: '-', initramfs.TypeBlockDevice: 'b',
		initramfs.TypeDir: 'd', initramfs.TypeCharDevice: 'c', initramfs.TypePipe: 'p',
	}
	text := []byte{kinds[mode&initramfs.TypeMask]}
	for i, char := range []byte("rwxrwxrwx") {
		if mode>>(8-i)&1 == 0 {
			char = '-'
		}
		text = append(text, char)
	}
	// Set-user-ID, set-group-ID and sticky stand in the place of execute.
	for i, special := range []struct {
		bit       uint32
		with, not byte
	}{{0o4000, 's', 'S'}, {0o2000, 's', 'S'}, {0o1000, 't', 'T'}} {
		at := 3 + 3*i
		switch {
		case mode&special.bit == 0:
		case text[at] == 'x':
			text[at] = special.with
		default:
			text[at] = special.not
		}
	}
	return string(text)
}
