package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// Options are what a Store can be told. The zero value works with what is
// installed already.
type Options struct {
	// Sources are asked in their order for a set or a file that is missing.
	Sources []Source
	// SetID is the set that EnsureSystemFiles puts in place. Where it is empty,
	// that is what the first source offers, and without sources what is installed.
	SetID string
	// KernelVersion is the default kernel. Where it is empty, it is that of the
	// latest set, and without one DefaultKernelVersion.
	KernelVersion KernelVersion
	// Link makes what comes from a folder on the same file system a second name of
	// the file there, where that is possible: it takes no room, but who changes the
	// one changes the other, which Resolve then refuses.
	Link bool
	// Logger is told of files that are fetched, put into quarantine and removed.
	Logger *slog.Logger
	// Progress is called while files are copied, by one goroutine at a time.
	Progress func(Progress)

	fault datadir.Fault
	now   func() time.Time
}

// Progress is how far the copying of a file is.
type Progress struct {
	ID   string // of the set
	Arch string
	File bundle.File
	Done int64 // bytes, of File.Size
}

// Store is the folder system of a data directory. It may be used by many
// goroutines, and many processes may have a Store of the same folder.
type Store struct {
	dataDir       string
	options       Options
	kernelDefault KernelVersion
}

// NewStore gives the store of a data directory, which need not exist.
func NewStore(dataDir string, options Options) *Store {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.now == nil {
		options.now = time.Now
	}
	return &Store{dataDir: dataDir, options: options, kernelDefault: DefaultKernelVersion}
}

// What is where below system.
const (
	setsDir        = "sets"
	leasesDir      = "leases"
	quarantineDir  = "quarantine"
	kernelDir      = "kernel"
	initrdDir      = "initrd"
	filesDir       = "files" // of sets, that are neither kernel nor initrd
	latestName     = "latest"
	kernelFile     = "vmlinux" // of every architecture
	initrdFile     = "initrd"
	digestPrefix   = "sha256-"
	collectLock    = "collect" // shared: adding; exclusive: removing
	latestLock     = "latest"
	recordSuffix   = ".verified"
	documentsLimit = 1 << 20 // bytes of a document of ours
)

// location is where the file of a set is, whatever set: equal files are one.
func location(arch string, file bundle.File) string {
	digest := digestPrefix + file.SHA256
	switch file.Kind {
	case bundle.Kernel:
		return path.Join(kernelDir, digest, arch, kernelFile)
	case bundle.Initrd:
		return path.Join(initrdDir, arch, digest, initrdFile)
	default:
		return path.Join(filesDir, arch, digest, path.Base(file.Name))
	}
}

func setDir(id string) string { return path.Join(setsDir, strings.TrimPrefix(id, "sha256:")) }

func manifestPath(id string) string { return path.Join(setDir(id), manifestName) }

// fileMode is that of hypeman's host: a kernel may be executed.
func fileMode(kind bundle.Kind) fs.FileMode {
	if kind == bundle.Kernel {
		return 0o755
	}
	return 0o644
}

// lockName is the name of the lock of a file.
func lockName(name string) string { return strings.ReplaceAll(name, "/", "_") }

func checkID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("artifact set %.80q: want sha256: and 64 lower-case hexadecimal digits", id)
	}
	return nil
}

// reading runs what needs the folder; without one nothing is installed.
func (s *Store) reading(ctx context.Context, do func(*datadir.Dir) error) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d, err := datadir.Open(s.dataDir, s.options.fault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return do(d)
}

// adding runs what adds files, while nobody removes any.
func (s *Store) adding(ctx context.Context, do func(*datadir.Dir) error) error {
	return s.changing(ctx, (*datadir.Dir).LockShared, do)
}

// removing runs what removes files, while nobody adds any.
func (s *Store) removing(ctx context.Context, do func(*datadir.Dir) error) error {
	return s.changing(ctx, (*datadir.Dir).Lock, do)
}

func (s *Store) changing(ctx context.Context, take func(*datadir.Dir, context.Context, string) (*datadir.Lock, error),
	do func(*datadir.Dir) error,
) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d, err := datadir.Create(s.dataDir, s.options.fault)
	if err != nil {
		return storage(err, 0)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sweep(); err != nil {
		return storage(fmt.Errorf("sweep stale files: %w", err), 0)
	}
	held, err := take(d, ctx, collectLock)
	if err != nil {
		return storage(err, 0)
	}
	defer func() { err = errors.Join(err, held.Unlock()) }()
	return storage(do(d), 0)
}

// readSet reads the manifest of an installed set.
func readSet(d *datadir.Dir, id string) (*bundle.Manifest, error) {
	data, err := d.ReadFile(manifestPath(id), manifestLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotInstalledError{ID: id}
	}
	if err != nil {
		return nil, err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return nil, &CorruptError{Path: d.Path(manifestPath(id)), Reason: err.Error()}
	}
	switch got, err := m.ID(); {
	case err != nil:
		return nil, err
	case got != id:
		return nil, &CorruptError{Path: d.Path(manifestPath(id)), Want: id[len("sha256:"):], Got: got[len("sha256:"):]}
	}
	return m, nil
}

// readLatest gives the ID of the latest set.
func readLatest(d *datadir.Dir) (string, error) {
	target, err := d.ReadLink(path.Join(setsDir, latestName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", &NotInstalledError{}
	}
	if err != nil {
		return "", err
	}
	id := "sha256:" + target
	return id, checkID(id)
}

// isReadOnly reports whether an error is that of somebody who may only read.
func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

// marshal gives a document of ours its form as bytes.
func marshal(document any) ([]byte, error) {
	data, err := json.MarshalIndent(document, "", "  ")
	return append(data, '\n'), err
}
