package agent

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// The kinds of failed calls that a caller may want to tell apart, by errors.Is.
// A call that its context ended is of the kind of the context's cause.
var (
	// ErrUnavailable tells that a call has not left this host, so it had no effect.
	ErrUnavailable = errors.New("agent cannot be reached")
	// ErrLost tells that the connection ended under a call, so that nobody knows
	// whether it had an effect.
	ErrLost = errors.New("connection to agent was lost")
	// ErrUnimplemented tells that the agent is too old for a call, or does without
	// it.
	ErrUnimplemented = errors.New("agent does not serve the call")
	// ErrUnauthenticated tells that the agent wants another token, or one at all.
	ErrUnauthenticated = errors.New("agent does not accept the token")
	// ErrProtocol tells that an agent's answer is none that the protocol has.
	ErrProtocol = errors.New("agent does not keep to the protocol")
	// ErrNoExitCode tells that an agent ended a call in good order but without an
	// exit code, so that nobody knows how the command ended.
	ErrNoExitCode = errors.New("agent sent no exit code")
)

// maxText bounds a text of the guest in an error, in bytes.
const maxText = 4 << 10

// CallError is the gRPC status with which a call failed. Where a guest made it,
// it is a claim.
type CallError struct {
	Code codes.Code
	// Message is for people. It has at most 4 KiB and nothing that a terminal
	// would obey.
	Message string
	kind    error
}

func (e *CallError) Error() string { return e.GRPCStatus().Err().Error() }

// Unwrap gives the kind of failure, which may be nil.
func (e *CallError) Unwrap() error { return e.kind }

// GRPCStatus is for status.Code and its like.
func (e *CallError) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// callError makes what gRPC gives for a call into a CallError. Sent tells that
// the call may have reached the agent.
func callError(ctx context.Context, err error, sent bool) error {
	if err == nil || err == io.EOF {
		return err
	}
	s := status.Convert(err)
	e := &CallError{Code: s.Code(), Message: clean(s.Message(), maxText)}
	_, limited := ctx.Deadline()
	switch {
	case ctx.Err() != nil:
		e.kind = context.Cause(ctx)
	case e.Code == codes.DeadlineExceeded && limited:
		// Both sides know the deadline, and the other clock may be the first.
		e.kind = context.DeadlineExceeded
	case e.Code == codes.Unimplemented:
		e.kind = ErrUnimplemented
	case e.Code == codes.Unauthenticated:
		e.kind = ErrUnauthenticated
	case e.Code != codes.Unavailable && e.Code != codes.Canceled:
	case sent:
		e.kind = ErrLost
	default:
		e.kind = ErrUnavailable
	}
	return e
}

// clean makes a text of the guest fit for a terminal and a log: it is cut, and
// what does not print is replaced.
func clean(text string, limit int) string {
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// unaryErrors and streamErrors make every error of a call a CallError.
func unaryErrors(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	// It is filled in once the call has a connection.
	var agent peer.Peer
	err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Peer(&agent))...)
	return callError(ctx, err, agent.Addr != nil)
}

func streamErrors(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, callError(ctx, err, false)
	}
	return &typedStream{stream, ctx}, nil
}

// typedStream is a stream whose errors are CallErrors.
type typedStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (s *typedStream) SendMsg(m any) error {
	return callError(s.ctx, s.ClientStream.SendMsg(m), true)
}

func (s *typedStream) RecvMsg(m any) error {
	return callError(s.ctx, s.ClientStream.RecvMsg(m), true)
}

// seconds is a time as the guest counts it: what is begun counts.
func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}
