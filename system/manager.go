package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Manager is what hypeman's host asks of its system package. A *Store is one.
type Manager interface {
	// EnsureSystemFiles installs the default kernel and the initrd, unless they
	// are there and verified.
	EnsureSystemFiles(ctx context.Context) error
	// GetKernelPath is where the kernel of a version is, verified.
	GetKernelPath(version KernelVersion) (string, error)
	// GetInitrdPath is where the latest initrd is, verified.
	GetInitrdPath() (string, error)
	// GetDefaultKernelVersion is the kernel that EnsureSystemFiles installs.
	GetDefaultKernelVersion() KernelVersion
}

// NewManager gives the store of a data directory to a host that knows no more
// than a Manager.
func NewManager(dataDir string, options Options) Manager { return NewStore(dataDir, options) }

// EnsureSystemFiles puts the set of Options.SetID, or the one that the first
// source offers, in place and makes it the latest. Where the data directory has
// it already no source is asked for files, and with a SetID none is asked at all.
// Without sources and SetID, what is installed is verified.
//
// Errors begin with "ensure kernel VERSION: " or "ensure initrd: ". In the chain
// of what a source did not give is ErrDownloadFailed; of another failure of the
// initrd, ErrBuildFailed; of a kernel that the set has not, ErrUnsupportedVersion.
func (s *Store) EnsureSystemFiles(ctx context.Context) error {
	if s.options.SetID != "" || len(s.options.Sources) > 0 {
		if err := s.ensureSet(ctx); err != nil {
			return err
		}
	}
	version := s.GetDefaultKernelVersion()
	if _, err := s.kernelPath(ctx, version); err != nil {
		return fmt.Errorf("ensure kernel %s: %w", version, err)
	}
	if _, err := s.initrdPath(ctx); err != nil {
		return fmt.Errorf("ensure initrd: %w", ensureInitrdError(err))
	}
	return nil
}

func (s *Store) ensureSet(ctx context.Context) error {
	in, err := s.Install(ctx, s.options.SetID)
	if err == nil {
		err = s.SetLatest(ctx, in.ID)
	}
	if err == nil || isReadOnly(err) && s.isLatest(ctx) {
		return nil
	}
	// What keeps the initrd away is told as such, all else as what keeps the
	// kernel away.
	if file, ok := errors.AsType[*fileError](err); ok && file.kind == bundle.Initrd {
		return fmt.Errorf("ensure initrd: %w", ensureInitrdError(err))
	}
	return fmt.Errorf("ensure kernel %s: %w", s.GetDefaultKernelVersion(), err)
}

// isLatest reports whether the set that is asked for is in place.
func (s *Store) isLatest(ctx context.Context) bool {
	id, err := s.Latest(ctx)
	if err != nil || s.options.SetID != "" && id != s.options.SetID {
		return false
	}
	_, err = s.Resolve(ctx, id, "")
	return err == nil
}

func ensureInitrdError(err error) error {
	if errors.Is(err, ErrDownloadFailed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBuildFailed, err)
}

// GetDefaultKernelVersion is the kernel of Options.KernelVersion, else that of the
// latest set, else what DefaultKernelVersion was when the store was made.
func (s *Store) GetDefaultKernelVersion() KernelVersion {
	if s.options.KernelVersion != "" {
		return s.options.KernelVersion
	}
	version := s.kernelDefault
	// Whatever keeps the set from being read, GetKernelPath tells.
	_ = s.reading(context.Background(), func(d *datadir.Dir) error {
		latest, err := latestKernel(d)
		if err == nil {
			version = latest
		}
		return err
	})
	return version
}

// latestKernel is the version of the latest set's kernel.
func latestKernel(d *datadir.Dir) (KernelVersion, error) {
	_, a, err := latestSet(d)
	if err != nil {
		return "", err
	}
	info, err := kernelInfo(d, a)
	if err != nil {
		return "", err
	}
	file, _ := a.File(bundle.Kernel)
	return kernelVersion(file, a.Arch, info), nil
}

// latestSet is the latest set's part for this machine.
func latestSet(d *datadir.Dir) (string, *bundle.Architecture, error) {
	id, err := readLatest(d)
	if err != nil {
		return "", nil, err
	}
	m, err := readSet(d, id)
	if err != nil {
		return "", nil, err
	}
	a, ok := m.Architecture(GetArch())
	if !ok {
		return "", nil, &NotInstalledError{ID: id, Arch: GetArch()}
	}
	return id, a, nil
}

// GetKernelPath is where the kernel of a version is. Kernels of the lock, of sets
// that were the latest and those that a hypeman host left behind have one. The
// bytes of a kernel of a set are those of the set; those of a host's are the
// lock's where it has a digest, and else the ones that were found first.
//
// The error of a version that is none of these, or malformed, is
// ErrUnsupportedVersion; that of one that is not there is a *NotInstalledError.
func (s *Store) GetKernelPath(version KernelVersion) (string, error) {
	return s.kernelPath(context.Background(), version)
}

func (s *Store) kernelPath(ctx context.Context, version KernelVersion) (found string, err error) {
	if err := checkVersion(version); err != nil {
		return "", err
	}
	arch := GetArch()
	err = s.reading(ctx, func(d *datadir.Dir) error {
		// The link of the version is flipped a moment before the latest set is.
		if latest, err := latestKernel(d); err == nil && latest == version {
			_, a, err := latestSet(d)
			if err != nil {
				return err
			}
			file, _ := a.File(bundle.Kernel)
			found, err = s.setKernel(ctx, d, version, a.Arch, file.SHA256)
			return err
		}
		for _, name := range []string{versionPath(version, arch), path.Join(kernelDir, string(version), arch, "Image")} {
			var want wanted
			if a := pinned(version, arch); a != nil && len(a.URLs) > 0 {
				want.sha256 = a.SHA256 // what is in a package has another digest than the package
			}
			_, err := s.use(ctx, d, name, want)
			if err == nil {
				found = d.Path(name)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return fs.ErrNotExist
	})
	if errors.Is(err, fs.ErrNotExist) && !isNotInstalled(err) {
		if pinned(version, arch) == nil {
			return "", fmt.Errorf("kernel %s: %w", version, ErrUnsupportedVersion)
		}
		err = &NotInstalledError{Kernel: version, Arch: arch}
	}
	if err != nil {
		return "", fmt.Errorf("find kernel: %w", err)
	}
	return found, nil
}

// setKernel is where the kernel of a set goes by its version, or, if another has
// that name, where it goes by its digest.
func (s *Store) setKernel(ctx context.Context, d *datadir.Dir, version KernelVersion, arch, digest string) (string, error) {
	want := wanted{sha256: digest}
	if _, err := s.check(ctx, d, versionPath(version, arch), want); err == nil {
		return d.Path(versionPath(version, arch)), nil
	}
	name := versionPath(KernelVersion(digestPrefix+digest), arch)
	if _, err := s.use(ctx, d, name, want); err != nil {
		return "", err
	}
	return d.Path(name), nil
}

// initrdID is a name that hypeman's host or this package gives an initrd: Unix
// seconds or nanoseconds, or a digest.
var initrdID = regexp.MustCompile(`^([0-9]{1,20}|sha256-[0-9a-f]{64})$`)

// GetInitrdPath is where the initrd of the latest set is, or, where no set is
// installed, the one that a hypeman host made last.
func (s *Store) GetInitrdPath() (string, error) { return s.initrdPath(context.Background()) }

func (s *Store) initrdPath(ctx context.Context) (found string, err error) {
	err = s.reading(ctx, func(d *datadir.Dir) error {
		name, digest, err := latestInitrd(d)
		if err != nil {
			return err
		}
		_, err = s.use(ctx, d, name, wanted{sha256: digest})
		found = d.Path(name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		if !isNotInstalled(err) {
			err = &NotInstalledError{}
		}
		return "", fmt.Errorf("read latest symlink: %w", err)
	}
	if err != nil {
		return "", fmt.Errorf("find initrd: %w", err)
	}
	return found, nil
}

// latestInitrd gives the name of the latest initrd, and its digest where it is
// known.
func latestInitrd(d *datadir.Dir) (name, digest string, err error) {
	_, a, err := latestSet(d)
	if err == nil {
		file, _ := a.File(bundle.Initrd)
		return location(a.Arch, file), file.SHA256, nil
	}
	if !isNotInstalled(err) {
		return "", "", err
	}
	link := path.Join(initrdDir, GetArch(), latestName)
	id, err := d.ReadLink(link)
	if err != nil {
		return "", "", err
	}
	if !initrdID.MatchString(id) {
		return "", "", fmt.Errorf("read %s: it leads to %q, which is no initrd: %w", d.Path(link), id, datadir.ErrUnsafe)
	}
	if len(id) > len(digestPrefix) && id[:len(digestPrefix)] == digestPrefix {
		digest = id[len(digestPrefix):]
	}
	return path.Join(initrdDir, GetArch(), id, initrdFile), digest, nil
}
