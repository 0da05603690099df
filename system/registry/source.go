package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	maxRedirects = 5
	// brokenTime is how long a mirror that failed is not asked.
	brokenTime = 5 * time.Minute
)

// permanentError is one that would come again from the same registry.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// localError is one of this machine, which no other registry helps against.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// statusError is an answer other than the one that was asked for.
type statusError struct {
	code       int
	host       string
	detail     string // what the registry says to it; "" for nothing
	retryAfter string // the header of that name
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s says %d %s", e.host, e.code, http.StatusText(e.code))
	if e.detail != "" {
		text += fmt.Sprintf(" (%.200q)", e.detail)
	}
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; credentials come from docker login or crane auth login"
	case http.StatusProxyAuthRequired:
		text += "; the proxy's credentials go into the URL in HTTPS_PROXY"
	}
	return text
}

// Is makes what a registry does not have a fs.ErrNotExist.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

// isStatus tells an answer by its code.
func isStatus(err error, codes ...int) bool {
	status, ok := errors.AsType[*statusError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if status.code == code {
			return true
		}
	}
	return false
}

// newStatusError reads what the registry says to an answer.
func newStatusError(response *http.Response) error {
	err, ok := errors.AsType[*transport.Error](transport.CheckError(response))
	if !ok {
		err = &transport.Error{StatusCode: response.StatusCode}
	}
	return fromTransportError(err, response.Request.URL.Host, response.Header.Get("Retry-After"))
}

func fromTransportError(err *transport.Error, host, retryAfter string) error {
	status := &statusError{code: err.StatusCode, host: host, retryAfter: retryAfter}
	var details []string
	for _, diagnostic := range err.Errors {
		details = append(details, diagnostic.String())
	}
	status.detail = strings.Join(details, "; ")
	switch code := err.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests,
		code >= 500:
		return status
	default:
		return permanentError{status}
	}
}

// source is a repository that a set can be pulled from.
type source struct {
	client *Client
	repo   name.Repository
	broken atomic.Pointer[time.Time] // when it failed; nil if it did not

	mu        sync.Mutex
	connected *http.Client
}

// setBroken is for when asking again is of no use; for some time nobody does.
func (s *source) setBroken() {
	now := s.client.systemClock().Now()
	s.broken.Store(&now)
}

func (s *source) isBroken() bool {
	at := s.broken.Load()
	return at != nil && s.client.systemClock().Now().Sub(*at) < brokenTime
}

// connect makes the handshake by which a registry says what credentials it wants.
func (s *source) connect(ctx context.Context) (*http.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connected != nil {
		return s.connected, nil
	}
	auth, err := authn.Resolve(ctx, s.client.keychain(), s.repo)
	if err != nil {
		return nil, localError{fmt.Errorf("find credentials for %s: %w", s.repo.RegistryStr(), err)}
	}
	scopes := []string{s.repo.Scope(transport.PullScope)}
	through, err := transport.NewWithContext(ctx, s.repo.Registry, auth, s.client.transport(), scopes)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.repo.RegistryStr(), requestError(err))
	}
	s.connected = &http.Client{Transport: through, CheckRedirect: checkRedirect}
	return s.connected, nil
}

// checkRedirect keeps a registry from sending requests in circles, in the clear or
// to other machines' private addresses.
func checkRedirect(request *http.Request, via []*http.Request) error {
	from, to := via[0].URL, request.URL
	switch {
	case len(via) > maxRedirects:
		return permanentError{fmt.Errorf("more than %d redirects", maxRedirects)}
	case to.Scheme != "https" && to.Scheme != via[len(via)-1].URL.Scheme:
		return permanentError{fmt.Errorf("redirect from %s to %s is not followed", via[len(via)-1].URL.Scheme, to.Scheme)}
	case to.Hostname() != from.Hostname() && isPrivate(to.Hostname()):
		return permanentError{fmt.Errorf("redirect from %s to the private address %s is not followed", from.Host, to.Host)}
	}
	return nil
}

func isPrivate(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" ||
		ip != nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// get sends a request for what stands below the repository. Any answer is one.
func (s *source) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, permanentError{err}
	}
	request.Header = header.Clone()
	// A server that may compress sends other bytes than those of the digest.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := client.Do(request)
	if err != nil {
		return nil, requestError(err)
	}
	if err := checkForm(response); err != nil {
		return nil, errors.Join(err, response.Body.Close())
	}
	return response, nil
}

// checkForm refuses what proxies and portals make of an answer.
func checkForm(response *http.Response) error {
	host := response.Request.URL.Host
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return permanentError{fmt.Errorf("%s encodes as %.100q, want bytes as they are", host, encoding)}
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode == http.StatusOK && kind == "text/html" {
		return permanentError{fmt.Errorf("%s sends a web page (text/html)", host)}
	}
	return nil
}

// requestError takes the URL out of an error, since it may be a signed one, and
// gives an answer that is one in its place.
func requestError(err error) error {
	if status, ok := errors.AsType[*transport.Error](err); ok {
		host := "registry"
		if status.Request != nil {
			host = status.Request.URL.Host
		}
		return fromTransportError(status, host, "")
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if dns, ok := errors.AsType[*net.DNSError](wrapped.Err); ok && dns.IsNotFound {
			return permanentError{wrapped.Err}
		}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](wrapped.Err); ok {
			return permanentError{wrapped.Err}
		}
		return wrapped.Err
	}
	return err
}

// getDocument reads something small into memory. Without a digest, it is what the
// registry has for a tag.
func (s *source) getDocument(ctx context.Context, path string, accept []string, digest string, most int64) (data []byte, err error) {
	response, err := s.get(ctx, path, http.Header{"Accept": accept})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, newStatusError(response)
	}
	data, err = io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read after %d bytes: %w", len(data), err)
	}
	if int64(len(data)) > most {
		return nil, permanentError{fmt.Errorf("it has more than %d bytes", most)}
	}
	if got := hashOf(data).String(); digest != "" && got != digest {
		return nil, permanentError{fmt.Errorf("it has digest %s (%d bytes), want %s", got, len(data), digest)}
	}
	return data, nil
}

// parseRetryAfter reads seconds or a date; other text asks for nothing. Source:
// RFC 9110, 10.2.3.
func parseRetryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return date.Sub(now)
	}
	return 0
}
