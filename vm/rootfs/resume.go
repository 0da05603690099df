package rootfs

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxResumes bounds how often a layer is asked for again.
const maxResumes = 3

// resumed is a layer that is asked for again when its connection breaks, a mirror
// not a second time. It starts anew and skips what was read, since not all
// registries know ranges. That its parts fit together, its digest tells in the end.
type resumed struct {
	repositories *repositories
	digest       v1.Hash
	repo         name.Repository // that body is from
	body         io.ReadCloser
	done         int64 // bytes that were read
	resumes      int
}

func (r *repositories) openLayer(digest v1.Hash) (io.ReadCloser, error) {
	l := &resumed{repositories: r, digest: digest}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *resumed) open() error {
	return l.repositories.try(func(repo name.Repository) (err error) {
		l.repo = repo
		l.body, err = l.repositories.openBlob(repo, l.digest)
		return err
	})
}

func (l *resumed) Read(p []byte) (int, error) {
	for {
		n, err := l.body.Read(p)
		l.done += int64(n)
		if err == nil || n > 0 {
			return n, ignoreBreak(err)
		}
		if !isBreak(err) || l.resumes == maxResumes || l.repositories.ctx.Err() != nil {
			return 0, err
		}
		if err := l.resume(); err != nil {
			return 0, err
		}
	}
}

// isBreak tells that a connection broke, rather than that what came is wrong.
func isBreak(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF)
}

// ignoreBreak leaves the error of a broken connection to the next read, which
// has it again.
func ignoreBreak(err error) error {
	if isBreak(err) {
		return nil
	}
	return err
}

func (l *resumed) resume() error {
	l.resumes++
	all := l.repositories.all
	if l.repo != all[len(all)-1] {
		l.repositories.failed[l.repo] = true
	}
	// It is broken: what closing it says is of no use.
	_ = l.body.Close()
	if err := l.open(); err != nil {
		return fmt.Errorf("resume after %d bytes: %w", l.done, err)
	}
	if _, err := io.CopyN(io.Discard, l.body, l.done); err != nil {
		return fmt.Errorf("resume after %d bytes: %w", l.done, err)
	}
	return nil
}

func (l *resumed) Close() error { return l.body.Close() }
