package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

func TestMirrors(t *testing.T) {
	set, other := newSet(t, 1), newSet(t, 2)
	set.sign(t, 1)
	kernel := set.file(t, bundle.Kernel)
	content := set.content[kernel.Name]
	tests := []struct {
		name   string
		mirror func(t *testing.T, origin, mirror *testRegistry) (address string)
		// origin is how often the reference's own registry is asked for the
		// kernel, mirror the mirror.
		origin, mirrored int
	}{
		{"has all", func(t *testing.T, _, mirror *testRegistry) string {
			set.push(t, mirror)
			mirror.misbehave(nil)
			return mirror.host
		}, 0, 1},
		{"has all below a prefix", func(t *testing.T, _, mirror *testRegistry) string {
			if _, err := newClient().Push(t.Context(), set.dir, mirror.host+"/cache/of/kindling/set:1"); err != nil {
				t.Fatal(err)
			}
			mirror.misbehave(nil)
			return mirror.host + "/cache/of/"
		}, 0, 1},
		{"has nothing", func(_ *testing.T, _, mirror *testRegistry) string { return mirror.host }, 1, 1},
		{"has another set", func(t *testing.T, _, mirror *testRegistry) string {
			other.push(t, mirror)
			mirror.misbehave(nil)
			return mirror.host
		}, 1, 1},
		{"is down", func(*testing.T, *testRegistry, *testRegistry) string { return "127.0.0.1:1" }, 1, 0},
		{"lies about the kernel", func(t *testing.T, _, mirror *testRegistry) string {
			set.push(t, mirror)
			mirror.misbehave(onBlob(kernel, answer(200, "x"+content[1:])))
			return mirror.host
		}, 1, 1},
		{"wants credentials", func(_ *testing.T, _, mirror *testRegistry) string {
			mirror.misbehave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true })
			return mirror.host
		}, 1, 0},
		{"breaks off in the kernel", func(t *testing.T, _, mirror *testRegistry) string {
			set.push(t, mirror)
			mirror.misbehave(onBlob(kernel, breakOff(content, len(content)/2)))
			return mirror.host
		}, 1, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			origin, mirror := newRegistry(t), newRegistry(t)
			ref := set.push(t, origin).Reference
			origin.misbehave(nil)
			client := newClient()
			client.Mirrors = []string{test.mirror(t, origin, mirror)}
			dir := t.TempDir()
			got, err := client.Pull(t.Context(), ref, dir, Want{Policy: requireKey(t, 1)})
			if err != nil {
				t.Fatal(err)
			}
			set.checkFolder(t, dir)
			if got.Reference != ref {
				t.Errorf("got reference %s, want %s", got.Reference, ref)
			}
			if got := origin.count(kernel.SHA256); got != test.origin {
				t.Errorf("%d requests for the kernel to the origin, want %d", got, test.origin)
			}
			if got := mirror.count(kernel.SHA256); got != test.mirrored {
				t.Errorf("%d requests for the kernel to the mirror, want %d", got, test.mirrored)
			}
		})
	}
}

// TestBrokenMirror checks that a mirror that does not work is asked once.
func TestBrokenMirror(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	set := newSet(t, 1)
	ref := set.push(t, origin).Reference
	mirror.misbehave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	client := newClient()
	client.Mirrors = []string{mirror.host}
	if _, err := client.Pull(t.Context(), ref, t.TempDir(), Want{}); err != nil {
		t.Fatal(err)
	}
	if got := mirror.count(""); got != 1 {
		t.Errorf("%d requests to the mirror, want 1: %q", got, mirror.requests)
	}
	origin.misbehave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	_, err := client.Pull(t.Context(), ref, t.TempDir(), Want{})
	checkError(t, err, mirror.host+"/kindling/set: ")
	checkError(t, err, origin.host+"/kindling/set: ")
}

// TestUnsignedMirror has the signature at the origin alone.
func TestUnsignedMirror(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	set := newSet(t, 1)
	set.push(t, mirror)
	set.sign(t, 1)
	ref := set.push(t, origin).Reference
	client := newClient()
	client.Mirrors = []string{mirror.host}
	if _, err := client.Pull(t.Context(), ref, t.TempDir(), Want{Policy: requireKey(t, 1)}); err != nil {
		t.Error(err)
	}
	_, err := client.Pull(t.Context(), ref, t.TempDir(), Want{Policy: requireKey(t, 2)})
	if !errors.Is(err, signature.ErrUntrusted) {
		t.Errorf("got error %v, want %v", err, signature.ErrUntrusted)
	}
}

func TestMirrorNames(t *testing.T) {
	for mirror, want := range map[string]string{
		"":                  `mirror "", want HOST or HOST/PREFIX`,
		"mirror":            `mirror "mirror", want HOST`,
		"/x":                `mirror "/x", want HOST`,
		"https://mirror.de": `mirror "https://mirror.de", want HOST`,
		"mirror.de/UPPER":   `mirror "mirror.de/UPPER": `,
	} {
		client := newClient()
		client.Mirrors = []string{mirror}
		_, err := client.Resolve(t.Context(), "registry.example/set:1")
		checkError(t, err, want)
	}
}

// TestCredentials has them where docker login leaves them.
func TestCredentials(t *testing.T) {
	const secret = "s3cret"
	r := newRegistry(t)
	set := newSet(t, 1)
	basic := func(w http.ResponseWriter, request *http.Request) bool {
		if user, password, ok := request.BasicAuth(); ok && user == "me" && password == secret {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	bearer := func(w http.ResponseWriter, request *http.Request) bool {
		if request.URL.Path == "/token" {
			user, password, _ := request.BasicAuth()
			if user != "me" || password != secret {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			if err := json.NewEncoder(w).Encode(map[string]string{"token": "for " + request.URL.Query().Get("scope")}); err != nil {
				t.Error(err)
			}
			return true
		}
		if strings.HasPrefix(request.Header.Get("Authorization"), "Bearer for repository:kindling/set:") {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.host))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	login := func(t *testing.T, password string) {
		config := t.TempDir()
		auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
		writeFile(t, filepath.Join(config, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, auth))
		t.Setenv("DOCKER_CONFIG", config)
	}
	for name, guard := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic, "bearer": bearer} {
		t.Run(name, func(t *testing.T) {
			r.misbehave(guard)
			login(t, secret)
			client := newClient()
			client.Keychain = nil
			pushed, err := client.Push(t.Context(), set.dir, r.host+"/kindling/set:1")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if _, err := client.Pull(t.Context(), pushed.Reference, dir, Want{}); err != nil {
				t.Fatal(err)
			}
			set.checkFolder(t, dir)
			login(t, "wr0ng")
			_, pullErr := client.Pull(t.Context(), pushed.Reference, t.TempDir(), Want{})
			_, pushErr := client.Push(t.Context(), set.dir, r.host+"/kindling/set:1")
			for _, err := range []error{pullErr, pushErr} {
				checkError(t, err, r.host+" says 401 Unauthorized; credentials come from docker login")
				if err != nil && strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("error tells the password: %v", err)
				}
			}
		})
	}
	t.Run("no credentials", func(t *testing.T) {
		r.misbehave(basic)
		_, err := newClient().Pull(t.Context(), r.host+"/kindling/set@"+set.id, t.TempDir(), Want{})
		checkError(t, err, "says 401 Unauthorized")
	})
	t.Run("keychain fails", func(t *testing.T) {
		client := newClient()
		client.Keychain = brokenKeychain{}
		_, err := client.Pull(t.Context(), r.host+"/kindling/set@"+set.id, t.TempDir(), Want{})
		checkError(t, err, "find credentials for "+r.host+": helper is gone")
	})
}

type brokenKeychain struct{}

func (brokenKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, errors.New("helper is gone")
}
