//go:build vm

package cache

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// cacheUser sends requests as someone.
type cacheUser struct {
	server *server
	client *http.Client
	role   role
}

// do sends a request for a path as it stands and checks the answer's status;
// header is a name and a value, or nothing. It gives the answer's body.
func (u cacheUser) do(t *testing.T, method, path, body string, want int, header ...string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, u.server.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(header) > 0 {
		request.Header.Set(header[0], header[1])
	}
	response, err := u.client.Do(request)
	if err != nil {
		t.Fatalf("%s as %s: %v", method, u.role, err)
	}
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s as %s: %v", method, path, u.role, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		t.Errorf("%s %s as %s: got %s, want %d", method, path, u.role, response.Status, want)
	}
	return string(answer)
}

func (u cacheUser) has(t *testing.T, path, want string) {
	t.Helper()
	if got := u.do(t, http.MethodGet, path, "", http.StatusOK); got != want {
		t.Errorf("GET %s as %s: got %d bytes %.20q, want %d bytes %.20q", path, u.role, len(got), got, len(want), want)
	}
}

// TestRules checks who may do what, without Bazel.
func TestRules(t *testing.T) {
	s := startServer(t)
	users := map[role]cacheUser{}
	for _, r := range []role{dev, ci, stranger} {
		users[r] = cacheUser{s, s.client(t, r), r}
	}
	const content = "an entry"
	// Larger than nginx takes unless told otherwise.
	large := strings.Repeat("0123456789abcdef", 1<<17)
	blob, entry := "/cas/"+hash(content), "/ac/"+hash(content)
	largeBlob, late := "/cas/"+hash(large), "/cas/"+hash("late")

	t.Run("read and write", func(t *testing.T) {
		for _, path := range []string{blob, entry} {
			users[dev].do(t, http.MethodGet, path, "", http.StatusNotFound)
			users[dev].do(t, http.MethodHead, path, "", http.StatusNotFound)
			users[dev].do(t, http.MethodPut, path, content, http.StatusForbidden)
			users[dev].do(t, http.MethodGet, path, "", http.StatusNotFound)
			users[ci].do(t, http.MethodPut, path, content, http.StatusCreated)
			users[ci].do(t, http.MethodPut, path, content, http.StatusNoContent)
			users[dev].do(t, http.MethodPut, path, "poison", http.StatusForbidden)
			users[dev].do(t, http.MethodHead, path, "", http.StatusOK)
			users[dev].has(t, path, content)
			users[ci].has(t, path, content)
		}
	})
	t.Run("large", func(t *testing.T) {
		users[dev].do(t, http.MethodPut, largeBlob, large, http.StatusForbidden)
		users[ci].do(t, http.MethodPut, largeBlob, large, http.StatusCreated)
		users[dev].has(t, largeBlob, large)
	})
	t.Run("unknown certificate", func(t *testing.T) {
		users[stranger].do(t, http.MethodPut, blob, "poison", http.StatusBadRequest)
		users[stranger].do(t, http.MethodGet, blob, "", http.StatusBadRequest)
	})
	t.Run("other names", func(t *testing.T) {
		for status, paths := range map[int][]string{
			http.StatusNotFound: {
				"/", "/ac", "/cas", "/cas/", "/index.html", "/tmp/0000000001", "/" + hash(content), "/other" + blob,
				blob[:len(blob)-1], blob + "0", blob + "/", blob + "/x", blob + ".", blob + "~", blob + "%0A", blob + "%20",
				"/cas/" + strings.Repeat("A", 64), "/cas/" + strings.Repeat("g", 64), "/CAS/" + hash(content),
				"/cas/..", "/cas/../tmp/1", "/cas/%2e%2e/" + hash(content), `/cas/..\..\etc\passwd`,
			},
			// nginx itself refuses to leave its root, and NUL.
			http.StatusBadRequest: {
				"/../../../etc/passwd", "/cas/../../../../etc/passwd", "/cas/%2e%2e/%2e%2e/etc/passwd",
				"/cas/..%2f..%2f..%2fetc%2fpasswd", blob + "%00",
			},
		} {
			for _, path := range paths {
				users[ci].do(t, http.MethodGet, path, "", status)
				users[ci].do(t, http.MethodPut, path, "poison", status)
			}
		}
	})
	t.Run("other methods", func(t *testing.T) {
		for _, r := range []role{dev, ci} {
			for _, method := range []string{
				"DELETE", "MKCOL", "COPY", "MOVE", "POST", "PATCH", "OPTIONS", "PROPFIND", "LOCK",
			} {
				users[r].do(t, method, blob, "", http.StatusForbidden, "Destination", s.url+"/cas/"+hash("copy"))
				users[r].do(t, method, "/cas/", "", http.StatusNotFound, "Destination", s.url+"/ac/")
			}
		}
	})
	t.Run("part of an entry", func(t *testing.T) {
		users[ci].do(t, http.MethodPut, blob, "poi", http.StatusNotImplemented, "Content-Range", "bytes 0-2/8")
		finish := beginPut(t, s, late, "late")
		users[dev].do(t, http.MethodGet, late, "", http.StatusNotFound)
		finish()
		users[dev].has(t, late, "late")
	})

	users[dev].has(t, blob, content)
	users[dev].has(t, entry, content)
	s.stop(t)
	files := map[string]bool{}
	err := filepath.WalkDir(s.dir, func(path string, file fs.DirEntry, err error) error {
		if err == nil && !file.IsDir() {
			files[strings.TrimPrefix(path, s.dir)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{blob: true, entry: true, largeBlob: true, late: true}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files of the cache (-want +got):\n%s", diff)
	}
}

// beginPut sends all of an entry but its last byte, as CI, and gives a function
// that sends that too.
func beginPut(t *testing.T, s *server, path, content string) (finish func()) {
	t.Helper()
	address := strings.TrimPrefix(s.url, "https://")
	conn, err := tls.Dial("tcp", address, s.tlsConfig(t, ci))
	if err != nil {
		t.Fatal(err)
	}
	send := func(text string) {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	last := len(content) - 1
	send(fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", path, address, len(content)))
	send(content[:last])
	return func() {
		send(content[last:])
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusCreated {
			t.Errorf("PUT %s: got %s, want %d", path, response.Status, http.StatusCreated)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
