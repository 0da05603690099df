package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// initramfsTools is the peer mkinitramfs. It reads the folders of the system it
// runs on, so it has a root of its own.
type initramfsTools struct {
	root   string
	kernel string // release, which its modules are of
}

// initramfsRoot makes a Debian root with the tool, a kernel and its modules. All
// files belong to the user, and udev's database of hardware, which no machine of
// ours has and is as large as all else, is left out.
const initramfsRoot = `mkdir "$1"; mmdebstrap --variant=essential --format=tar ` +
	`--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' ` + // mirrors can be frozen in time
	`--include="$2" trixie - ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} | ` +
	`tar -x -C "$1" --no-same-owner --exclude='./dev/*' --exclude=./usr/lib/udev/hwdb.bin`

// initramfsTools makes a root whose initrds have what a shipped initrd has, which
// is in tree. Its busybox and modules are Debian's.
func (b *bench) initramfsTools(ctx context.Context, tree string, modules []string) (*initramfsTools, error) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return nil, fmt.Errorf("find what makes a root for mkinitramfs: %w", err)
	}
	fmt.Fprintln(b.stderr, "bench: making a Debian root for mkinitramfs (about a minute)")
	root := b.path("debian")
	// Debian's names of architectures are Go's.
	packages := "busybox,cpio,initramfs-tools,zstd,linux-image-cloud-" + runtime.GOARCH
	if _, err := b.execute(ctx, nil, shell(initramfsRoot, root, packages)); err != nil {
		return nil, fmt.Errorf("make root for mkinitramfs: %w", err)
	}
	kernel, err := configureInitramfs(root, modules)
	if err != nil {
		return nil, err
	}
	shipped := filepath.Join(root, "shipped")
	if err := errors.Join(os.CopyFS(shipped, os.DirFS(tree)),
		os.RemoveAll(filepath.Join(shipped, "bin")), os.RemoveAll(filepath.Join(shipped, "lib"))); err != nil {
		return nil, fmt.Errorf("fill root for mkinitramfs: %w", err)
	}
	return &initramfsTools{root: root, kernel: kernel}, nil
}

// configureInitramfs writes the tool's settings (initramfs.conf(5)), which take
// the place of those for this machine's hardware, and gives the kernel's release.
func configureInitramfs(root string, modules []string) (kernel string, err error) {
	kernels, err := os.ReadDir(filepath.Join(root, "lib/modules"))
	if err != nil {
		return "", fmt.Errorf("find kernel for mkinitramfs: %w", err)
	}
	if len(kernels) != 1 {
		return "", fmt.Errorf("find kernel for mkinitramfs: got %d, want one", len(kernels))
	}
	for name, text := range map[string]string{
		// The fastest that it has: it refuses to leave the initrd as it is.
		"conf.d/bench": "MODULES=list\nBUSYBOX=y\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
		"modules":      strings.Join(modules, "\n") + "\n",
		// Each hook is also asked which others come before it.
		"hooks/bench": "#!/bin/sh\n[ \"$1\" = prereqs ] || cp -a /shipped \"$DESTDIR/\"\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/initramfs-tools", name), []byte(text), 0o755); err != nil {
			return "", fmt.Errorf("configure mkinitramfs: %w", err)
		}
	}
	return kernels[0].Name(), nil
}

// moduleNames are those of the kernel's modules among files.
func moduleNames(files []string) []string {
	var names []string
	for _, file := range files {
		if name, ok := strings.CutSuffix(path.Base(file), ".ko"); ok {
			names = append(names, name)
		}
	}
	return names
}

// contender runs the tool as root of a namespace, and without the user's
// variables, which name folders that are not in the root.
func (t *initramfsTools) contender(name string) contender {
	return contender{name: name, output: filepath.Join(t.root, "bench.img"), commands: [][]string{{
		"unshare", "--map-root-user", "--mount", "sh", "-ec", `PATH=/usr/sbin:/usr/bin:/sbin:/bin; mount --rbind /dev "$1/dev"; ` +
			`exec chroot "$1" env -i PATH="$PATH" mkinitramfs -o /bench.img "$2"`, "sh", t.root, t.kernel}}}
}

// distribution is the figure of the shipped initrd's content, from all its files
// or from prepared segments, and of what a distribution's tool makes of it.
func (s *assembly) distribution(tree string, rest []string, prepared []contender, peer *initramfsTools) (figure, error) {
	params := tree + ".all"
	if err := writeParams(params, tree, rest, "--binary=/init="+tree+"/init"); err != nil {
		return figure{}, err
	}
	const ours, theirs = "kindling, files", "mkinitramfs, zstd -1"
	return figure{
		name: "assemble the shipped content, as a distribution", reference: theirs,
		contenders: slices.Concat(
			[]contender{s.segment(s.path("files.cpio"), "@"+params).named(ours)}, prepared, []contender{peer.contender(theirs)}),
		levels: []level{{contender: ours, against: theirs, quantity: duration, atMost: 1.0 / 60}},
	}, nil
}
