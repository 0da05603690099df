package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// rootOwned are the top-level folders that come from the Debian root, or that
// are mounted on their own. All others are the host's, so that a path means the
// same inside as outside.
var rootOwned = map[string]bool{
	"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true, "usr": true, "etc": true, "var": true,
	"boot": true, "dev": true, "proc": true, "sys": true, "lost+found": true,
}

// bubblewrap is the command line that runs what follows it in the root. It
// makes the mount points in the root first, which is then mounted read-only.
func (l *launcher) bubblewrap(root, sdk string) ([]string, error) {
	args := []string{"bwrap",
		"--ro-bind", root, "/",
		"--dev-bind", "/dev", "/dev",
		// Not --proc: over a fresh proc Bazel's sandbox cannot mount its own.
		"--bind", "/proc", "/proc",
		"--bind", "/sys", "/sys",
	}
	var folders []string
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, fmt.Errorf("list the machine's folders: %w", err)
	}
	for _, entry := range entries {
		if info, err := os.Stat("/" + entry.Name()); err == nil && info.IsDir() && !rootOwned[entry.Name()] {
			folders = append(folders, "/"+entry.Name())
		}
	}
	// What users work with may lie inside folders that the root owns.
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("find home folder: %w", err)
	}
	for _, dir := range []string{"/var/tmp", os.TempDir(), home, l.cache, l.workspace, l.workdir} {
		if rootOwned[strings.Split(dir, "/")[1]] {
			folders = append(folders, dir)
		}
	}
	for _, dir := range folders {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
		args = append(args, "--bind", dir, dir)
	}
	sdkDirs, err := sdkFolders(sdk)
	if err != nil {
		return nil, err
	}
	for _, dir := range sdkDirs {
		if rootOwned[strings.Split(dir, "/")[1]] {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				return nil, fmt.Errorf("make mount point: %w", err)
			}
			args = append(args, "--ro-bind", dir, dir)
		}
	}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/group", "/etc/ssl/certs/ca-certificates.crt"} {
		if _, err := os.Stat(name); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
		if err := ensureFile(filepath.Join(root, name)); err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
		args = append(args, "--ro-bind", name, name)
	}
	return append(args,
		"--setenv", "GOROOT", sdk,
		"--setenv", "PATH", sdk+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		// Bazel's server outlives this call, and with it the root.
		"--chdir", l.workdir,
		"--",
	), nil
}

// sdkFolders are the SDK's folder and those that links in it lead to: Debian's
// SDK keeps its sources elsewhere.
func sdkFolders(sdk string) ([]string, error) {
	folders := []string{sdk}
	entries, err := os.ReadDir(sdk)
	if err != nil {
		return nil, fmt.Errorf("read Go SDK: %w", err)
	}
	for _, entry := range entries {
		target, err := filepath.EvalSymlinks(filepath.Join(sdk, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("follow link in Go SDK: %w", err)
		}
		if info, err := os.Stat(target); err == nil && info.IsDir() && !within(target, sdk) {
			folders = append(folders, target)
		}
	}
	return folders, nil
}

func ensureFile(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}
