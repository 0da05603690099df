package server

import (
	"context"
	"crypto/subtle"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// admit refuses calls that do not show the token, as `authorization: Bearer
// TOKEN` in their metadata. It looks at a call's headers: an interceptor of a
// unary call would come behind its message. Health is for everybody, since it
// tells what an answer at all does.
func admit(token string) tap.ServerInHandle {
	want := []byte("Bearer " + token)
	const open = "/grpc.health.v1.Health/"
	return func(ctx context.Context, call *tap.Info) (context.Context, error) {
		if token == "" || strings.HasPrefix(call.FullMethodName, open) {
			return ctx, nil
		}
		shown := call.Header.Get("authorization")
		if len(shown) == 1 && subtle.ConstantTimeCompare([]byte(shown[0]), want) == 1 {
			return ctx, nil
		}
		return ctx, status.Error(codes.Unauthenticated, "call does not show the agent's token")
	}
}
