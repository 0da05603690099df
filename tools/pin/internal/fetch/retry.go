package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// permanentError is one that would come again.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// statusError is an answer that may be another one later.
type statusError struct {
	status string
	// retryAfter is the header of that name: seconds or a date.
	retryAfter string
}

func (e *statusError) Error() string { return "server says " + e.status }

func newStatusError(response *http.Response) error {
	err := &statusError{
		status:     strings.TrimSpace(response.Status),
		retryAfter: response.Header.Get("Retry-After"),
	}
	switch code := response.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return err
	case code == http.StatusProxyAuthRequired:
		return permanentError{fmt.Errorf("proxy says %s", err.status)}
	default:
		return permanentError{err}
	}
}

// transportError tells failures of a moment from those that stay.
func transportError(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return permanentError{err}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return permanentError{err}
	}
	return err
}

// waitBefore says how long to wait after an attempt, counted from 1, that ended
// with an error. It tells the user.
func (c *Client) waitBefore(attempt int, cause error) (time.Duration, error) {
	const first, most = time.Second, 30 * time.Second
	wait := min(first<<(attempt-1), most)
	// All that failed together shall not come again together.
	wait = wait/2 + time.Duration(c.Jitter()*float64(wait/2))
	if status, ok := errors.AsType[*statusError](cause); ok && status.retryAfter != "" {
		asked := c.parseRetryAfter(status.retryAfter)
		if asked > maxRetryAfter {
			return 0, fmt.Errorf("%w, and to come again in %v, which is more than %v", cause, asked, maxRetryAfter)
		}
		wait = max(wait, asked)
	}
	c.Progress.say("%v; attempt %d of %d in %v", cause, attempt+1, attempts, wait.Round(100*time.Millisecond))
	return wait, nil
}

// parseRetryAfter reads seconds or a date; other text asks for nothing. Source:
// RFC 9110, 10.2.3.
func (c *Client) parseRetryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return date.Sub(c.Clock.Now())
	}
	return 0
}
