package treecopy

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxName bounds an entry's name, in bytes: PATH_MAX without the NUL.
const maxName = unix.PathMax - 1

// ExtractOptions says what an Extractor may make.
type ExtractOptions struct {
	// KeepOwner gives entries their owners. Without it, they belong to this
	// process.
	KeepOwner bool
	// Guarded is for entries of somebody who is not trusted. Devices, FIFOs and
	// links that lead out of the directory are refused, and no link is passed
	// through. Unless KeepOwner is set, set-user-ID and set-group-ID bits and
	// extended attributes beyond user.* are left out.
	Guarded bool
	// MaxBytes and MaxEntries bound what is made; 0 does not.
	MaxBytes, MaxEntries int64
	// Rename, if not nil, changes clean names: of entries, and those that hard
	// links point to.
	Rename func(name string) (string, error)
	// Progress, if not nil, is called with the bytes of content so far.
	Progress func(bytes int64)
}

// ExtractSummary is what an Extractor has made.
type ExtractSummary struct {
	Entries int64 // directories that existed included
	Bytes   int64 // of file content
}

// Extractor makes entries below one directory and nowhere else. A regular file
// or a link that is there is replaced, a directory stays and keeps its
// attributes; everything else in an entry's place is an error.
//
// New directories get their attributes when the first entry that is not below
// them comes, or at the end: entries of a directory must stand together, as tar
// writes them, for its time to be right. Missing parents are made with mode 0755.
type Extractor struct {
	root    *os.Root
	o       ExtractOptions
	open    []directory // outermost first
	buf     []byte
	summary ExtractSummary
}

// directory is one whose attributes wait for what comes below it.
type directory struct {
	name       string
	attributes *Attributes
}

// NewExtractor makes entries below a directory that exists.
func NewExtractor(dir string, o ExtractOptions) (*Extractor, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder to extract to: %w", err)
	}
	return &Extractor{root: root, o: o, buf: make([]byte, bufferSize)}, nil
}

// Close gives the last directories their attributes.
func (x *Extractor) Close() error {
	return errors.Join(x.leave(""), x.root.Close())
}

// Summary is what was made so far.
func (x *Extractor) Summary() ExtractSummary { return x.summary }

// Put makes one entry. Content is read to its end for a regular file alone.
func (x *Extractor) Put(ctx context.Context, h *tar.Header, content io.Reader) error {
	if err := x.put(ctx, h, content); err != nil {
		return fmt.Errorf("extract %.300q: %w", h.Name, err)
	}
	return nil
}

func (x *Extractor) put(ctx context.Context, h *tar.Header, content io.Reader) error {
	if x.summary.Entries++; x.o.MaxEntries > 0 && x.summary.Entries > x.o.MaxEntries {
		return fmt.Errorf("more than %d entries", x.o.MaxEntries)
	}
	name, err := x.name(h.Name)
	if err != nil {
		return err
	}
	if err := x.leave(name); err != nil {
		return err
	}
	attributes, err := x.attributes(h)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return x.putDirectory(name, attributes)
	}
	if name == "." {
		return errors.New("it has the name of the directory itself")
	}
	dir, err := x.directory(path.Dir(name), true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		err = x.putFile(ctx, dir, base, attributes, content)
	case tar.TypeSymlink:
		err = x.putSymlink(dir, name, h.Linkname, attributes)
	case tar.TypeLink:
		err = x.putLink(dir, base, h.Linkname)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		err = x.putNode(dir, base, h, attributes)
	default:
		err = fmt.Errorf("unknown type %q", h.Typeflag)
	}
	return errors.Join(err, dir.Close())
}

// name gives the place of an entry below the root.
func (x *Extractor) name(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("it has no name")
	case len(name) > maxName:
		return "", fmt.Errorf("name has %d bytes, want at most %d", len(name), maxName)
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("name %.300q is absolute", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", fmt.Errorf("name %.300q has a ..", name)
	case strings.Contains(name, "\x00"):
		return "", fmt.Errorf("name %.300q has a NUL", name)
	}
	name = path.Clean(name)
	if x.o.Rename == nil {
		return name, nil
	}
	return x.o.Rename(name)
}

func (x *Extractor) attributes(h *tar.Header) (*Attributes, error) {
	// Other programs put the type in the mode, too.
	if h.Mode < 0 || h.Mode > unix.S_IFMT|modeBits {
		return nil, fmt.Errorf("mode is %#o", h.Mode)
	}
	a := &Attributes{Mode: uint32(h.Mode) & modeBits, ModTime: h.ModTime}
	if x.o.KeepOwner {
		for _, id := range []int{h.Uid, h.Gid} {
			// -1 would leave the owner.
			if id < 0 || int64(id) >= math.MaxUint32 {
				return nil, fmt.Errorf("owner is %d:%d, want numbers from 0 to %d", h.Uid, h.Gid, uint32(math.MaxUint32-1))
			}
		}
		a.Owner = &Owner{UID: uint32(h.Uid), GID: uint32(h.Gid)}
	}
	distrusted := x.o.Guarded && !x.o.KeepOwner
	if distrusted {
		a.Mode &^= unix.S_ISUID | unix.S_ISGID
	}
	for key, value := range h.PAXRecords {
		name, found := strings.CutPrefix(key, xattrRecord)
		if !found || distrusted && !strings.HasPrefix(name, "user.") {
			continue
		}
		if a.Xattrs == nil {
			a.Xattrs = map[string]string{}
		}
		a.Xattrs[name] = value
	}
	return a, nil
}

// leave gives directories their attributes that name is not below. Empty is
// below none.
func (x *Extractor) leave(name string) error {
	var errs []error
	for len(x.open) > 0 {
		last := x.open[len(x.open)-1]
		if name != "" && isBelow(name, last.name) {
			break
		}
		x.open = x.open[:len(x.open)-1]
		dir, err := x.directory(last.name, false)
		if err == nil {
			err = errors.Join(last.attributes.ApplyTo(int(dir.Fd())), dir.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("finish directory %.300q: %w", last.name, err))
		}
	}
	return errors.Join(errs...)
}

// isBelow tells whether a name is that of a directory or of something in it.
func isBelow(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

func (x *Extractor) putDirectory(name string, attributes *Attributes) error {
	if name == "." {
		return nil
	}
	if last := len(x.open) - 1; last >= 0 && x.open[last].name == name {
		x.open[last].attributes = attributes // of two entries the later one counts
		return nil
	}
	parent, err := x.directory(path.Dir(name), true)
	if err != nil {
		return err
	}
	made, err := makeOrFindDirectory(parent, path.Base(name))
	if made {
		x.open = append(x.open, directory{name: name, attributes: attributes})
	}
	return errors.Join(err, parent.Close())
}

// makeOrFindDirectory leaves a new directory to this process alone until it has
// its attributes.
func makeOrFindDirectory(parent *os.File, name string) (made bool, err error) {
	err = unix.Mkdirat(int(parent.Fd()), name, 0o700)
	if err != unix.EEXIST {
		return err == nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, fmt.Errorf("there is a %s already", TypeName(stat.Mode))
	}
	return false, nil
}

// directory opens a directory below the root, made if it is missing and may be.
func (x *Extractor) directory(name string, create bool) (*os.File, error) {
	if name == "." || !x.o.Guarded {
		dir, err := x.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
		if name == "." || !create || !errors.Is(err, fs.ErrNotExist) {
			return dir, err
		}
	}
	parent, err := x.directory(path.Dir(name), create)
	if err != nil {
		return nil, err
	}
	dir, err := openBelow(parent, path.Base(name), create)
	if err != nil {
		err = &os.PathError{Op: "open", Path: name, Err: err}
	}
	if err = errors.Join(err, parent.Close()); err != nil {
		return nil, err
	}
	return dir, nil
}

// openBelow opens a directory that is no link.
func openBelow(parent *os.File, base string, create bool) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	made := false
	if create {
		err := unix.Mkdirat(int(parent.Fd()), base, 0o755)
		if err != nil && err != unix.EEXIST {
			return nil, err
		}
		made = err == nil
	}
	dir, err := openAt(parent, base, flags, 0)
	if err != nil || !made {
		return dir, err
	}
	if err := unix.Fchmod(int(dir.Fd()), 0o755); err != nil { // whatever the umask is
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}
