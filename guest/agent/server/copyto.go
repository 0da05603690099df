package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/internal/treecopy"
)

type copyToStream = grpc.ClientStreamingServer[guestpb.CopyToGuestRequest, guestpb.CopyToGuestResponse]

// CopyToGuest writes one file or makes one directory. Failures are in the
// response, with texts that hosts know.
//
// A file appears when it is complete, or not at all: another one of its name,
// or the one that a link of its name points to, is replaced then, and its mode,
// extended attributes and, if the request has none, owner stay. Its other hard
// links keep the old content.
func (s *service) CopyToGuest(stream copyToStream) error {
	first, err := stream.Recv()
	if err != nil && err != io.EOF {
		return err
	}
	start := first.GetStart() // nil at the end of the stream, too
	var written int64
	switch {
	case start == nil:
		err = errors.New("first message must be CopyToGuestStart")
	case start.GetIsDir():
		err = copyDirectory(stream, start)
	default:
		written, err = copyFile(stream, start)
	}
	if err != nil {
		return stream.SendAndClose(&guestpb.CopyToGuestResponse{Error: text(err)})
	}
	return stream.SendAndClose(&guestpb.CopyToGuestResponse{Success: true, BytesWritten: written})
}

// owner is who a request wants a file to belong to, or nil. Hosts of the hypeman
// agent protocol cannot say root.
func owner(start *guestpb.CopyToGuestStart) *treecopy.Owner {
	if !start.GetSetOwner() && (start.GetUid() == 0 || start.GetGid() == 0) {
		return nil
	}
	return &treecopy.Owner{UID: start.GetUid(), GID: start.GetGid()}
}

func modTime(start *guestpb.CopyToGuestStart) time.Time {
	if start.GetMtime() <= 0 {
		return time.Time{}
	}
	return time.Unix(start.GetMtime(), 0)
}

func copyDirectory(stream copyToStream, start *guestpb.CopyToGuestStart) error {
	name := absolute(start.GetPath())
	var stat unix.Stat_t
	err := unix.Stat(name, &stat)
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("cannot create directory: %s is a file", name)
	}
	if err != nil {
		attributes := &treecopy.Attributes{Mode: start.GetMode(), Owner: owner(start)}
		if err := makeDirectories(name, attributes, modTime(start)); err != nil {
			return fmt.Errorf("create directory: %w", err)
		}
	}
	// Hosts half-close instead of an end, too.
	switch req, err := stream.Recv(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case req.GetEnd() == nil:
		return errors.New("receive: a directory has no content")
	}
	return nil
}

// makeDirectories makes a directory and its parents where they are missing, all
// of the same attributes. The time is that of the last one.
func makeDirectories(name string, attributes *treecopy.Attributes, at time.Time) error {
	if name == "" {
		return unix.ENOENT
	}
	name = strings.TrimRight(name, "/")
	for i := 1; i <= len(name); i++ {
		if i < len(name) && (name[i] != '/' || name[i-1] == '/') {
			continue
		}
		a := *attributes
		if i == len(name) {
			a.ModTime = at
		}
		if err := makeDirectory(name[:i], &a); err != nil {
			return err
		}
	}
	return nil
}

// makeDirectory makes a directory unless there is one, perhaps behind a link.
func makeDirectory(name string, attributes *treecopy.Attributes) error {
	err := os.Mkdir(name, 0o700)
	if errors.Is(err, os.ErrExist) {
		info, statErr := os.Stat(name)
		if statErr == nil && !info.IsDir() {
			statErr = &os.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
		return statErr
	}
	if err != nil {
		return err
	}
	dir, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(attributes.ApplyTo(int(dir.Fd())), dir.Close())
}

// parentAttributes are those of a directory that nobody has described.
var parentAttributes = &treecopy.Attributes{Mode: 0o755}

func copyFile(stream copyToStream, start *guestpb.CopyToGuestStart) (written int64, err error) {
	name := absolute(start.GetPath())
	var stat unix.Stat_t
	if err := unix.Stat(name, &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0, fmt.Errorf("cannot copy file: %s is a directory", name)
	}
	if strings.HasSuffix(name, "/") { // path.Dir would take it for a parent
		return 0, fmt.Errorf("create file: %w", &os.PathError{Op: "open", Path: name, Err: unix.EISDIR})
	}
	if err := makeDirectories(path.Dir(name), parentAttributes, time.Time{}); err != nil {
		return 0, fmt.Errorf("create parent directory: %w", err)
	}
	dir, base, err := openTarget(name)
	if err != nil {
		return 0, fmt.Errorf("create file: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	attributes, err := existingAttributes(dir, base)
	if err != nil {
		return 0, fmt.Errorf("create file: %s: %w", name, err)
	}
	if attributes == nil {
		attributes = &treecopy.Attributes{Mode: start.GetMode()}
	}
	if o := owner(start); o != nil {
		attributes.Owner = o
	}
	attributes.ModTime = modTime(start)
	file, err := treecopy.NewFile(dir)
	if err != nil {
		return 0, fmt.Errorf("create file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	if err := receive(stream, file, start.GetSize()); err != nil {
		return 0, err
	}
	if err := file.Commit(base, attributes, true); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	return file.Size(), nil
}

// receive writes what comes until end. A size of 0 is unknown.
func receive(stream copyToStream, file *treecopy.File, size int64) error {
	if size < 0 {
		return fmt.Errorf("receive: size is %d", size)
	}
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			err = errors.New("the stream has ended before the file")
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch req := req.GetRequest().(type) {
		case *guestpb.CopyToGuestRequest_Start:
			return errors.New("receive: a second CopyToGuestStart")
		case *guestpb.CopyToGuestRequest_Data:
			if size > 0 && int64(len(req.Data)) > size-file.Size() {
				return fmt.Errorf("receive: more than the announced %d bytes", size)
			}
			if _, err := file.Write(req.Data); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		case *guestpb.CopyToGuestRequest_End:
			if size > 0 && file.Size() != size {
				return fmt.Errorf("receive: %d bytes, want the announced %d", file.Size(), size)
			}
			return nil
		}
	}
}

// maxLinks is how many links in a row are followed, as the kernel does.
const maxLinks = 40

// openTarget follows links at the end of a path, also to what does not exist,
// and opens the directory that the file is in or will be in.
func openTarget(name string) (dir *os.File, base string, err error) {
	for range maxLinks {
		var parent string
		parent, base = path.Split(name)
		if base == "" || base == "." || base == ".." {
			return nil, "", &os.PathError{Op: "open", Path: name, Err: unix.EISDIR}
		}
		if dir, err = os.OpenFile(parent, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0); err != nil {
			return nil, "", err
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(dir.Fd()), base, buf)
		if err == unix.EINVAL || err == unix.ENOENT { // no link, or nothing
			return dir, base, nil
		}
		if err = errors.Join(err, dir.Close()); err != nil {
			return nil, "", &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		if name = string(buf[:n]); !path.IsAbs(name) {
			name = parent + name
		}
	}
	return nil, "", &os.PathError{Op: "open", Path: name, Err: unix.ELOOP}
}

// existingAttributes are those that a new file takes over from the one that it
// replaces, nil if there is none. A FIFO or a device is not opened.
func existingAttributes(dir *os.File, base string) (_ *treecopy.Attributes, err error) {
	if err := treecopy.CheckReplaceable(dir, base); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	return treecopy.ReadAttributes(fd)
}
