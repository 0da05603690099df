package system_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

// The examples install a set with small files, the same at each run.
func exampleSet(dir string) error {
	arch := bundle.Architecture{Arch: system.GetArch(), CommandLine: "console=ttyS0"}
	for _, kind := range []bundle.Kind{bundle.Kernel, bundle.Initrd} {
		if err := os.WriteFile(filepath.Join(dir, string(kind)), []byte(kind), 0o644); err != nil {
			return err
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, string(kind))
		if err != nil {
			return err
		}
		arch.Files = append(arch.Files, file)
	}
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := m.MarshalCanonical()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), data, 0o644)
}

// inFolders runs an example with a folder that has a set and an empty data
// directory.
func inFolders(do func(set, dataDir string) error) {
	dir, err := os.MkdirTemp("", "example")
	if err == nil {
		defer os.RemoveAll(dir)
		set := filepath.Join(dir, "set")
		if err = os.Mkdir(set, 0o755); err == nil {
			err = exampleSet(set)
		}
		if err == nil {
			err = do(set, filepath.Join(dir, "data"))
		}
	}
	if err != nil {
		fmt.Println(err)
	}
}

// A hypeman host changes the import and the line that makes the manager.
func ExampleNewManager() {
	inFolders(func(set, dataDir string) error {
		m := system.NewManager(dataDir, system.Options{Sources: []system.Source{system.Dir(set)}})
		if err := m.EnsureSystemFiles(context.Background()); err != nil {
			return err
		}
		kernel, err := m.GetKernelPath(m.GetDefaultKernelVersion())
		if err != nil {
			return err
		}
		initrd, err := m.GetInitrdPath()
		if err != nil {
			return err
		}
		fmt.Println(filepath.Base(kernel), filepath.Base(initrd))
		return nil
	})
	// Output: vmlinux initrd
}

// A host that pins a set notes the ID and gets those bytes, or an error.
func ExampleStore_Resolve() {
	inFolders(func(set, dataDir string) error {
		ctx := context.Background()
		store := system.NewStore(dataDir, system.Options{Sources: []system.Source{system.Dir(set)}})
		installed, err := store.Install(ctx, "") // once: from now on the ID says it
		if err != nil {
			return err
		}
		got, err := store.Resolve(ctx, installed.ID, "")
		if err != nil {
			return err
		}
		fmt.Println(got.ID == installed.ID, got.CommandLine)
		_, err = store.Resolve(ctx, "sha256:"+strings.Repeat("0", 64), "")
		fmt.Println(err)
		return nil
	})
	// Output:
	// true console=ttyS0
	// resolve artifact set: artifact set sha256:0000000000000000000000000000000000000000000000000000000000000000 is not installed: get it with kindling install sha256:0000000000000000000000000000000000000000000000000000000000000000
}

func ExampleTar() {
	store := system.NewStore("/var/lib/kindling", system.Options{
		Sources: []system.Source{system.Tar("/usr/share/kindling/set.tar")},
	})
	fmt.Println(store.GetDefaultKernelVersion() != "")
	// Output: true
}

func ExampleHTTP() {
	inFolders(func(set, dataDir string) error {
		server := httptest.NewServer(http.FileServer(http.Dir(set)))
		defer server.Close()
		source, err := system.HTTP(server.URL, system.HTTPOptions{})
		if err != nil {
			return err
		}
		store := system.NewStore(dataDir, system.Options{Sources: []system.Source{source}})
		installed, err := store.Install(context.Background(), "")
		if err != nil {
			return err
		}
		fmt.Println(len(installed.Fetched), "files")
		return nil
	})
	// Output: 2 files
}

// A process that uses a set keeps it from being collected, and a lease does so
// for an instance that outlives the process.
func ExampleStore_Collect() {
	inFolders(func(set, dataDir string) error {
		ctx := context.Background()
		store := system.NewStore(dataDir, system.Options{Sources: []system.Source{system.Dir(set)}})
		installed, err := store.Install(ctx, "")
		if err != nil {
			return err
		}
		held, err := store.Hold(ctx, installed.ID, "")
		if err != nil {
			return err
		}
		collect := func() error {
			decisions, err := store.Collect(ctx, system.CollectOptions{Grace: system.NoGrace})
			for _, decision := range decisions {
				fmt.Println(decision.Remove, decision.Reason)
			}
			return err
		}
		return errors.Join(collect(), held.Close(), collect())
	})
	// Output:
	// false held by a process
	// true neither root nor leased, held or latest, and older than the grace time
}
