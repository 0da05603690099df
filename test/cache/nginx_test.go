//go:build vm

// Package cache has the tests of the shared cache that docs/remote-cache.md
// describes: a real nginx with the configuration given there. Bazel runs them;
// they need nginx.
package cache

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

// role is who talks to the cache.
type role string

const (
	dev      role = "dev" // has no certificate
	ci       role = "ci"
	stranger role = "stranger" // has a certificate that the cache does not know
)

// server is an nginx with the documented configuration, and nothing in it.
type server struct {
	url string // https://127.0.0.1:PORT
	dir string // has the entries: ac/HASH and cas/HASH

	certs    string // folder
	command  *exec.Cmd
	errorLog string
	stopped  bool
}

// frame is what the documented file is included into. All paths are below
// nginx's prefix. Where the test is root, nginx stays it: in a sandbox there may
// be no other user.
const frame = `daemon off;
user root;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include cache.conf;
}
`

var placeholder = regexp.MustCompile(`\$\{[A-Z_]+\}`)

// startServer starts nginx on a port of its own, and stops it when the test
// ends.
func startServer(t *testing.T) *server {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // nginx wants the protocol that its configuration names
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	prefix := t.TempDir()
	s := &server{
		url:      "https://" + listener.Addr().String(),
		dir:      t.TempDir(),
		certs:    t.TempDir(),
		errorLog: filepath.Join(prefix, "error.log"),
	}
	for _, name := range []role{"server", ci, stranger} {
		s.writeCertificate(t, name)
	}
	writeFile(t, filepath.Join(prefix, "nginx.conf"), []byte(frame))
	writeFile(t, filepath.Join(prefix, "cache.conf"), documented(t, map[string]string{
		"${LISTEN}":          listener.Addr().String(),
		"${CERTIFICATE}":     s.certificate("server"),
		"${CERTIFICATE_KEY}": s.key("server"),
		"${WRITERS}":         s.certificate(ci),
		"${DIRECTORY}":       s.dir,
	}))

	s.command = exec.Command(nginx, "-p", prefix, "-e", s.errorLog, "-c", "nginx.conf")
	// How an nginx hands its sockets to the next one, and tests to the first:
	// https://nginx.org/en/docs/control.html#upgrade
	s.command.ExtraFiles = []*os.File{socket}
	s.command.Env = append(os.Environ(), "NGINX=3;")
	if err := errors.Join(s.command.Start(), socket.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	// The socket is open already: this waits until nginx takes from it or ends.
	conn, err := tls.Dial("tcp", listener.Addr().String(), s.tlsConfig(t, dev))
	if err != nil {
		t.Fatalf("start nginx: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// documented gives the configuration that the documentation has, filled in.
func documented(t *testing.T, values map[string]string) []byte {
	t.Helper()
	name, err := runfiles.Rlocation("_main/docs/remote-cache.nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return placeholder.ReplaceAllFunc(template, func(name []byte) []byte {
		value, ok := values[string(name)]
		if !ok {
			t.Fatalf("configuration has unknown %s", name)
		}
		return []byte(value)
	})
}

// stop ends nginx: from then on, nobody listens at the URL. It may be called
// again.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	signalErr := s.command.Process.Signal(syscall.SIGTERM)
	if err := s.command.Wait(); err != nil || signalErr != nil {
		log, readErr := os.ReadFile(s.errorLog)
		t.Errorf("stop nginx: %v, %v; its log: %s %v", signalErr, err, log, readErr)
	}
}

// flags are Bazel's for using the cache as someone.
func (s *server) flags(r role) []string {
	flags := []string{"--remote_cache=" + s.url, "--tls_certificate=" + s.certificate("server")}
	if r != dev {
		flags = append(flags, "--tls_client_certificate="+s.certificate(r), "--tls_client_key="+s.key(r))
	}
	return flags
}

// tlsConfig is what flags are for Bazel.
func (s *server) tlsConfig(t *testing.T, r role) *tls.Config {
	t.Helper()
	trusted, err := os.ReadFile(s.certificate("server"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(trusted) {
		t.Fatalf("%s has no certificate", s.certificate("server"))
	}
	if r != dev {
		pair, err := tls.LoadX509KeyPair(s.certificate(r), s.key(r))
		if err != nil {
			t.Fatal(err)
		}
		// Sent unasked: by the server's list of issuers, a stranger would not.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config
}

func (s *server) client(t *testing.T, r role) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.tlsConfig(t, r)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport,
		Timeout:   time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

func (s *server) certificate(r role) string { return filepath.Join(s.certs, string(r)+".pem") }
func (s *server) key(r role) string         { return filepath.Join(s.certs, string(r)+".key") }

// writeCertificate makes a key and a certificate signed by itself, as the
// documentation does with openssl.
func (s *server) writeCertificate(t *testing.T, r role) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: string(r)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.certificate(r), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	writeFile(t, s.key(r), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
