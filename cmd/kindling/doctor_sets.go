package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

// littleRoom is what a set of one architecture takes, twice, in bytes.
const littleRoom = 256 << 20

const adviceInstall = "kindling install SOURCE"

// examineDir tells whether there is a data directory that can be used.
func (d *doctor) examineDir(ctx context.Context) bool {
	const check = "data-dir"
	info, err := os.Stat(d.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.fail(check, d.dir, "it does not exist", adviceInstall+", or name another one with --data-dir")
		return false
	case err != nil:
		d.fail(check, d.dir, err.Error(), "run kindling as a user who may read it, or name another one with --data-dir")
		return false
	case !info.IsDir():
		d.fail(check, d.dir, "it is no folder", "name a folder with --data-dir")
		return false
	}
	if _, err := d.store.List(ctx); errors.Is(err, system.ErrUnsafe) {
		d.fail(check, d.dir, oneLine(err), "look who did that, and take the right to write from others: chmod o-w FOLDER")
		return false
	}
	folder := filepath.Join(d.dir, "system")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		folder = d.dir
	}
	if err := unix.Access(folder, unix.W_OK); err != nil {
		d.warn(check, d.dir, "this user can use sets, but not install any: "+err.Error(), "run kindling install as the user who owns it")
	}
	var space unix.Statfs_t
	if err := unix.Statfs(d.dir, &space); err != nil {
		d.fail(check, d.dir, "its space cannot be told: "+err.Error(), "look at the file system that it is on")
		return true
	}
	free := space.Bavail * uint64(space.Bsize)
	text := fmt.Sprintf("%d MiB are free", free>>20)
	if free < d.room {
		d.warn(check, d.dir, text+", which may be too little for another set", "kindling gc, or make room")
	} else {
		d.ok(check, d.dir, text)
	}
	return true
}

func (d *doctor) examineSets(ctx context.Context) {
	const check = "sets"
	sets, err := d.store.List(ctx)
	if err != nil {
		d.fail(check, d.dir, oneLine(err), "move what is wrong away, and install the set again: "+adviceInstall)
		return
	}
	if len(sets) == 0 {
		d.fail(check, d.dir, "no artifact set is installed", adviceInstall)
		return
	}
	latest, err := d.store.Latest(ctx)
	switch {
	case isError[*system.NotInstalledError](err):
		d.warn(check, latestSet, "no set is the latest", adviceInstall+" makes its set the latest")
	case err != nil:
		d.fail(check, latestSet, oneLine(err), adviceInstall+" makes its set the latest")
	case !slices.ContainsFunc(sets, func(set system.Installed) bool { return set.ID == latest }):
		d.fail(check, latestSet, latest+" is not installed", adviceInstall)
	}
	for _, set := range sets {
		d.examineSet(ctx, set)
	}
}

func (d *doctor) examineSet(ctx context.Context, set system.Installed) {
	const check = "sets"
	again := adviceInstall + " --set " + set.ID
	switch {
	case slices.Contains(set.Arches, d.arch):
		d.ok(check, set.ID, "complete for "+strings.Join(set.Arches, ", "))
	case set.Latest:
		d.fail(check, set.ID, "it is the latest, and not complete for this machine, "+d.arch, again+" --arch "+d.arch)
	case len(set.Asked) > 0 && !slices.Contains(set.Asked, d.arch):
		d.ok(check, set.ID, "installed for "+strings.Join(set.Asked, ", ")+" only")
	default:
		d.warn(check, set.ID, "it is not complete for this machine, "+d.arch, again+" --arch "+d.arch)
	}
	files, err := d.store.Verify(ctx, set.ID)
	told := false
	for _, file := range files {
		if file.Err != nil {
			told = true
			d.fail("file", file.Path, oneLine(file.Err), again+" --arch "+file.Arch)
			continue
		}
		d.ok("file", file.Path, fmt.Sprintf("%s, %d bytes", file.File.Kind, file.File.Size))
		if file.File.Kind == bundle.Kernel {
			d.examineKernel(file.Path, file.Arch)
		}
	}
	if err != nil && !told {
		d.fail(check, set.ID, oneLine(err), again)
	}
}

// examineKernel says which hypervisors load a kernel.
func (d *doctor) examineKernel(path, arch string) {
	const check = "kernel"
	const advice = "install a set whose kernel is an ELF file with PVH note (x86_64) or an Image (aarch64)"
	info, err := inspectKernel(path)
	if err != nil {
		d.fail(check, path, oneLine(err), advice)
		return
	}
	var loads, refuses []string
	for _, hypervisor := range []kernelimage.Hypervisor{kernelimage.QEMU, kernelimage.CloudHypervisor} {
		if err := info.CheckLoadable(hypervisor, arch); err != nil {
			refuses = append(refuses, oneLine(err))
		} else {
			loads = append(loads, string(hypervisor))
		}
	}
	switch {
	case len(loads) == 0:
		d.fail(check, path, strings.Join(refuses, "; "), advice)
	case len(refuses) > 0:
		d.warn(check, path, strings.Join(refuses, "; "), "use "+strings.Join(loads, " or ")+", or "+advice)
	default:
		d.ok(check, path, fmt.Sprintf("%s for %s, loaded by %s", info.Format, info.Arch, strings.Join(loads, ", ")))
	}
}

func inspectKernel(path string) (info *kernelimage.Info, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	stat, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return kernelimage.Inspect(file, stat.Size())
}
