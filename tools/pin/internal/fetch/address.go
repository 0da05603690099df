package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// newTransport connects as this machine's environment says, and hands on bytes
// as they come.
func newTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
		if response.StatusCode == http.StatusOK {
			return nil
		}
		return fmt.Errorf("ask proxy for a connection: %w", newStatusError(response))
	}
	return transport
}

// Display is a URL without what not everybody may read: user info, and the query,
// where servers put signatures.
func Display(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "a malformed URL"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return u.String()
}

// checkURL refuses addresses whose bytes anybody on the way could change.
func (c *Client) checkURL(request Request) error {
	u, err := url.Parse(request.URL)
	switch {
	case err != nil:
		return errors.New("parse URL: it is malformed") // url's error would show all of it
	case u.Host == "":
		return errors.New("URL has no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("URL has scheme %q, want https", u.Scheme)
	case request.AnyHTTP, c.AllowHTTPLoopback && isLoopback(u):
		return nil
	case isLoopback(u):
		return errors.New("want https (--allow-http-loopback allows http from this machine)")
	default:
		return errors.New("want https")
	}
}

// checkRedirect lets a server send the client to https, or elsewhere on itself
// where it is on this machine.
func (c *Client) checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return permanentError{fmt.Errorf("more than %d redirects", maxRedirects)}
	}
	from := via[len(via)-1].URL
	if next.URL.Scheme == "https" ||
		c.AllowHTTPLoopback && isLoopback(from) && next.URL.Scheme == from.Scheme && next.URL.Host == from.Host {
		return nil
	}
	return permanentError{fmt.Errorf("server redirects to %s, want https", Display(next.URL.String()))}
}

func isLoopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(u.Hostname())
	return err == nil && address.Unmap().IsLoopback()
}
