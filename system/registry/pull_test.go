package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

func TestPull(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	pushed := set.push(t, r)
	if pushed.SetID != set.id {
		t.Errorf("pushed set %s, want %s", pushed.SetID, set.id)
	}
	repo := r.host + "/kindling/set"
	_, digest, _ := strings.Cut(pushed.Reference, "@")
	tests := []struct {
		name, ref string
		want      Want
		arches    []string
	}{
		{name: "digest", ref: repo + "@" + digest},
		{name: "tag and digest", ref: repo + ":1@" + digest},
		{name: "tag that is elsewhere and digest", ref: repo + ":gone@" + digest},
		{name: "set ID alone", ref: repo, want: Want{SetID: set.id}},
		{name: "set ID and tag", ref: repo + ":1", want: Want{SetID: set.id}},
		{name: "set ID and digest", ref: repo + "@" + digest, want: Want{SetID: set.id}},
		{name: "one architecture", ref: repo + "@" + digest, want: Want{Arches: []string{"x86_64"}}, arches: []string{"x86_64"}},
		{name: "both by name", ref: repo + "@" + digest, want: Want{Arches: []string{"x86_64", "aarch64"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "folder")
			got, err := newClient().Pull(t.Context(), test.ref, dir, test.want)
			if err != nil {
				t.Fatal(err)
			}
			if *got != *pushed {
				t.Errorf("got %+v, want %+v", got, pushed)
			}
			set.checkFolder(t, dir, test.arches...)
			for _, arch := range []string{"x86_64", "aarch64"} {
				part, _ := set.manifest.Architecture(arch)
				if err := part.Verify(os.DirFS(dir)); err != nil && test.arches == nil {
					t.Error(err)
				}
			}
		})
	}
	got, err := newClient().Resolve(t.Context(), repo+":1")
	if err != nil || *got != *pushed {
		t.Errorf("Resolve = %+v, error %v, want %+v", got, err, pushed)
	}
}

func TestPullRefuses(t *testing.T) {
	r := newRegistry(t)
	set, other := newSet(t, 1), newSet(t, 2)
	pushed := set.push(t, r)
	repo := r.host + "/kindling/set"
	tests := []struct {
		name, ref string
		want      Want
		is        error
		message   string
	}{
		{name: "tag alone", ref: repo + ":1", is: ErrUnpinned},
		{name: "no tag", ref: repo, message: "reference has neither tag nor digest"},
		{name: "no reference", ref: "a b", message: "parse reference"},
		{name: "short digest", ref: repo + "@sha256:12", message: "want sha256: and 64"},
		{name: "other kind of digest", ref: repo + "@sha512:" + strings.Repeat("0", 128), message: "want sha256: and 64"},
		{name: "malformed set ID", ref: repo, want: Want{SetID: "12"}, message: `set ID "12"`},
		{name: "other set", ref: pushed.Reference, want: Want{SetID: other.id}, is: ErrOtherSet},
		{name: "set that is not there", ref: repo, want: Want{SetID: other.id}, is: fs.ErrNotExist, message: "says 404 Not Found"},
		{name: "digest that is not there", ref: repo + "@" + other.id, message: "get index manifests/" + other.id + ": " + repo + ": " + r.host + " says 404 Not Found"},
		{name: "unknown architecture", ref: pushed.Reference, want: Want{Arches: []string{"riscv64"}}, message: `has nothing for "riscv64", but for ["aarch64" "x86_64"]`},
		{name: "architecture twice", ref: pushed.Reference, want: Want{Arches: []string{"x86_64", "x86_64"}}, message: "architecture x86_64 is wanted twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "set")
			_, err := newClient().Pull(t.Context(), test.ref, dir, test.want)
			checkError(t, err, test.message)
			checkError(t, err, "pull ")
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got error %v, want %v", err, test.is)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("folder was made, error %v", err)
			}
		})
	}
}

// TestPullAgain goes on with what is there.
func TestPullAgain(t *testing.T) {
	r := newRegistry(t)
	set, other := newSet(t, 1), newSet(t, 2)
	ref := set.push(t, r).Reference
	otherRef := other.push(t, r).Reference
	kernel := set.file(t, bundle.Kernel)
	dir := t.TempDir()
	pull := func(ref string, arches ...string) error {
		r.misbehave(nil)
		_, err := newClient().Pull(t.Context(), ref, dir, Want{Arches: arches})
		return err
	}
	if err := pull(ref, "x86_64"); err != nil {
		t.Fatal(err)
	}
	set.checkFolder(t, dir, "x86_64")
	if err := pull(ref, "x86_64"); err != nil || r.count("blobs/sha256:"+kernel.SHA256) != 0 {
		t.Errorf("again: error %v, requests %q", err, r.requests)
	}
	if err := pull(ref); err != nil || r.count("blobs/sha256:"+kernel.SHA256) != 0 {
		t.Errorf("other architecture: error %v, requests %q", err, r.requests)
	}
	set.checkFolder(t, dir)
	writeFile(t, filepath.Join(dir, kernel.Name), strings.Repeat("x", int(kernel.Size)))
	if err := pull(ref); err != nil || r.count("blobs/sha256:"+kernel.SHA256) != 1 {
		t.Errorf("changed file: error %v, requests %q", err, r.requests)
	}
	set.checkFolder(t, dir)
	checkError(t, pull(otherRef), "folder has another artifact set, "+set.id)
	checkFiles := read(t, dir)
	delete(checkFiles, partialDir+"/")
	if len(checkFiles) != len(set.content) {
		t.Errorf("folder has %d files, want %d", len(checkFiles), len(set.content))
	}
}

func TestPullIntoFolderInUse(t *testing.T) {
	r := newRegistry(t)
	ref := newSet(t, 1).push(t, r).Reference
	dir := t.TempDir()
	user, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); !errors.Is(err, ErrBusy) {
		t.Errorf("got error %v, want %v", err, ErrBusy)
	}
	if err := user.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); err != nil {
		t.Error(err)
	}
}

// TestPullKeepsInside plants links that lead out of the folder.
func TestPullKeepsInside(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, r).Reference
	t.Run("folder", func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		if err := os.Symlink(outside, filepath.Join(dir, "x86_64")); err != nil {
			t.Fatal(err)
		}
		_, err := newClient().Pull(t.Context(), ref, dir, Want{})
		checkError(t, err, "path escapes from parent")
		if got := read(t, outside); len(got) > 0 {
			t.Errorf("outside has %v", summary(got))
		}
		checkIncomplete(t, dir)
	})
	t.Run("file", func(t *testing.T) {
		dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "file")
		writeFile(t, outside, "outside")
		if err := os.Mkdir(filepath.Join(dir, "x86_64"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, "x86_64", "vmlinux")); err != nil {
			t.Fatal(err)
		}
		if _, err := newClient().Pull(t.Context(), ref, dir, Want{}); err != nil {
			t.Fatal(err)
		}
		set.checkFolder(t, dir)
		if got, err := os.ReadFile(outside); err != nil || string(got) != "outside" {
			t.Errorf("file outside is %q, error %v", got, err)
		}
	})
}

func TestPullCanceled(t *testing.T) {
	r := newRegistry(t)
	ref := newSet(t, 1).push(t, r).Reference
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := newClient().Pull(ctx, ref, t.TempDir(), Want{}); !errors.Is(err, enough) {
		t.Errorf("got error %v, want %v", err, enough)
	}
}

func TestProgress(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	var mu sync.Mutex
	last := map[string]Progress{}
	client := newClient()
	client.Progress = func(p Progress) {
		if !mu.TryLock() {
			t.Error("two goroutines report at once")
			return
		}
		defer mu.Unlock()
		last[p.File] = p
	}
	check := func() {
		t.Helper()
		for name, content := range set.content {
			want := Progress{File: name, Done: int64(len(content)), Total: int64(len(content))}
			if got := last[name]; name != "manifest.json" && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		clear(last)
	}
	artifact, err := client.Push(t.Context(), set.dir, r.host+"/kindling/set:1")
	if err != nil {
		t.Fatal(err)
	}
	check()
	if _, err := client.Pull(t.Context(), artifact.Reference, t.TempDir(), Want{}); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestSignature(t *testing.T) {
	for _, support := range []bool{true, false} {
		t.Run(map[bool]string{true: "referrers API", false: "referrers tag"}[support], func(t *testing.T) {
			r := newRegistry(t, registry.WithReferrersSupport(support))
			set := newSet(t, 1)
			set.sign(t, 1)
			ref := set.push(t, r).Reference
			for _, ref := range []string{ref, r.host + "/kindling/set:1"} {
				dir := t.TempDir()
				if _, err := newClient().Pull(t.Context(), ref, dir, Want{Policy: requireKey(t, 1)}); err != nil {
					t.Fatal(err)
				}
				set.checkFolder(t, dir)
				data, err := signature.Read(os.DirFS(dir))
				if err == nil {
					err = requireKey(t, 1).Verify(set.manifest, data, now)
				}
				if err != nil {
					t.Error(err)
				}
			}
			dir := filepath.Join(t.TempDir(), "set")
			_, err := newClient().Pull(t.Context(), ref, dir, Want{Policy: requireKey(t, 2)})
			if !errors.Is(err, signature.ErrUntrusted) {
				t.Errorf("other key: got error %v, want %v", err, signature.ErrUntrusted)
			}
			checkError(t, err, set.id)
			checkIncomplete(t, dir)

			// A second signature, by the key that comes next, does not hide the first.
			set.sign(t, 2)
			if again := set.push(t, r).Reference; again != ref {
				t.Errorf("set is now %s, was %s", again, ref)
			}
			for _, key := range []byte{1, 2} {
				if _, err := newClient().Pull(t.Context(), ref, t.TempDir(), Want{Policy: requireKey(t, key)}); err != nil {
					t.Errorf("key %d: %v", key, err)
				}
			}

			unsigned := newSet(t, 2).push(t, r).Reference
			if _, err := newClient().Pull(t.Context(), unsigned, t.TempDir(), Want{Policy: requireKey(t, 1)}); !errors.Is(err, signature.ErrMissing) {
				t.Errorf("unsigned: got error %v, want %v", err, signature.ErrMissing)
			}
		})
	}
}

// TestSwappedSet has a registry whose owner put another set under the tag.
func TestSwappedSet(t *testing.T) {
	r := newRegistry(t)
	good, evil := newSet(t, 1), newSet(t, 2)
	good.sign(t, 1)
	good.push(t, r)
	index := evil.push(t, r).Reference
	tagged := r.host + "/kindling/set:1"
	policy := Want{Policy: requireKey(t, 1)}
	if _, err := newClient().Pull(t.Context(), tagged, t.TempDir(), policy); !errors.Is(err, signature.ErrMissing) {
		t.Errorf("without a signature: got error %v, want %v", err, signature.ErrMissing)
	}
	if _, err := newClient().Pull(t.Context(), tagged, t.TempDir(), Want{SetID: good.id}); !errors.Is(err, ErrOtherSet) {
		t.Errorf("by set ID: got error %v, want %v", err, ErrOtherSet)
	}
	// The good set's signature, attached to the evil one.
	reference, err := name.NewDigest(index)
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := remote.Head(reference)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte(good.content[signature.FileName])
	u := newUpload(t, r)
	if err := u.putBlob(t.Context(), "signature", data, signature.MediaType); err != nil {
		t.Fatal(err)
	}
	if err := u.attach(t.Context(), signature.MediaType, "signature", hashOf(data), int64(len(data)), document{descriptor: *descriptor}); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient().Pull(t.Context(), tagged, t.TempDir(), policy); !errors.Is(err, signature.ErrOtherSet) {
		t.Errorf("with the other's signature: got error %v, want %v", err, signature.ErrOtherSet)
	}
}

// newUpload puts single documents into kindling/set.
func newUpload(t *testing.T, r *testRegistry) *upload {
	t.Helper()
	repo, err := name.NewRepository(r.host + "/kindling/set")
	if err != nil {
		t.Fatal(err)
	}
	pusher, err := remote.NewPusher()
	if err != nil {
		t.Fatal(err)
	}
	return &upload{client: newClient(), repo: repo, pusher: pusher}
}
