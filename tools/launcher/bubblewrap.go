package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// rootOwned are the top-level folders that come from the Debian root, or that
// are mounted on their own. All others are the host's, so that a path means the
// same inside as outside. (/var is one of those: nothing in the root reads its
// own, while homes and workspaces can lie there.)
var rootOwned = map[string]bool{
	"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true, "usr": true, "etc": true,
	"boot": true, "dev": true, "proc": true, "sys": true, "lost+found": true,
}

// needed are folders of the root that nothing may be mounted over.
var needed = []string{"/usr/bin", "/usr/lib", "/usr/share/bazel", "/etc/ssl", "/dev", "/proc", "/sys"}

const (
	machineTrust = "/etc/ssl/certs/ca-certificates.crt"
	javaTrust    = "/etc/ssl/certs/java/cacerts"
)

// bubblewrap is the command line that runs a command in the root, up to where
// that starts. It makes the mount points in the root, which is then mounted
// read-only.
func (l *launcher) bubblewrap(dir, root, sdk string) ([]string, error) {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	defer inside.Close()
	args := []string{"bwrap",
		"--ro-bind", root, "/",
		"--dev-bind", "/dev", "/dev",
		// Not --proc: over a fresh proc Bazel's sandbox cannot mount its own.
		"--bind", "/proc", "/proc",
		"--bind", "/sys", "/sys",
	}
	folders, err := l.hostFolders()
	if err != nil {
		return nil, err
	}
	sdkDirs, err := l.sdkFolders(sdk)
	if err != nil {
		return nil, err
	}
	for _, group := range []struct {
		option  string
		folders []string
	}{{"--bind", folders}, {"--ro-bind", sdkDirs}} {
		for _, folder := range group.folders {
			if err := inside.MkdirAll(folder[1:], 0o755); err != nil {
				return nil, fmt.Errorf("make mount point: %w", err)
			}
			args = append(args, group.option, folder, folder)
		}
	}
	files := [][2]string{} // on the host, inside
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/group", machineTrust} {
		if l.isOnHost(name, fs.FileMode.IsRegular) {
			files = append(files, [2]string{name, name})
		}
	}
	bundle, err := os.ReadFile(filepath.Join(l.host, machineTrust))
	if err == nil {
		store, err := keepFile(dir, "cacerts", trustStore(bundle))
		if err != nil {
			return nil, fmt.Errorf("write Java's trust store: %w", err)
		}
		files = append(files, [2]string{store, javaTrust})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	for _, file := range files {
		if err := ensureFile(inside, file[1][1:]); err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
		args = append(args, "--ro-bind", file[0], file[1])
	}
	return append(args,
		// The host's would name a folder that is not there.
		"--unsetenv", "JAVA_HOME",
		"--setenv", "GOROOT", sdk,
		"--setenv", "PATH", sdk+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	), nil
}

// hostFolders are the folders of the host that are seen inside, parents first.
func (l *launcher) hostFolders() ([]string, error) {
	entries, err := os.ReadDir(l.host)
	if err != nil {
		return nil, fmt.Errorf("list the machine's folders: %w", err)
	}
	var folders []string
	for _, entry := range entries {
		if !rootOwned[entry.Name()] {
			folders = append(folders, "/"+entry.Name())
		}
	}
	// What users work with may lie inside folders that the root owns.
	caches, err := os.UserCacheDir() // Bazel's is beside ours
	if err != nil {
		return nil, fmt.Errorf("find cache folder: %w", err)
	}
	wanted := []string{os.Getenv("HOME"), os.TempDir(), caches, l.cache, l.workspace}
	if l.mirror != nil {
		wanted = append(wanted, l.mirror.dir)
	}
	for _, folder := range wanted {
		if filepath.IsAbs(folder) && rootOwned[top(folder)] && !hides(folder) {
			folders = append(folders, filepath.Clean(folder))
		}
	}
	folders = slices.DeleteFunc(folders, func(folder string) bool { return !l.isOnHost(folder, fs.FileMode.IsDir) })
	slices.Sort(folders)
	return slices.Compact(folders), nil
}

// isOnHost reports whether there is something of a kind, links followed.
func (l *launcher) isOnHost(name string, kind func(fs.FileMode) bool) bool {
	info, err := os.Stat(filepath.Join(l.host, name))
	return err == nil && kind(info.Mode())
}

// hides reports whether a mount on the folder would hide what the root needs.
func hides(folder string) bool {
	return slices.ContainsFunc(needed, func(name string) bool { return within(name, filepath.Clean(folder)) })
}

// top is the first name of an absolute path.
func top(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	return name
}

// sdkFolders are the SDK's folder and those that links in it lead to, where the
// root owns their place: Debian's SDK keeps its sources elsewhere.
func (l *launcher) sdkFolders(sdk string) ([]string, error) {
	folders := []string{sdk}
	entries, err := os.ReadDir(filepath.Join(l.host, sdk))
	if err != nil {
		return nil, fmt.Errorf("read Go SDK: %w", err)
	}
	for _, entry := range entries {
		target, err := filepath.EvalSymlinks(filepath.Join(l.host, sdk, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("follow link in Go SDK: %w", err)
		}
		target = filepath.Join("/", strings.TrimPrefix(target, l.host))
		if l.isOnHost(target, fs.FileMode.IsDir) && !within(target, sdk) {
			folders = append(folders, target)
		}
	}
	return slices.DeleteFunc(folders, func(folder string) bool { return !rootOwned[top(folder)] }), nil
}

func ensureFile(inside *os.Root, name string) error {
	if err := inside.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := inside.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}
