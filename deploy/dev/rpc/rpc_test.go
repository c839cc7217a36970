package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// server is a server that tells the test what it sees.
type server struct {
	testpb.UnimplementedTestServiceServer
	metadata chan metadata.MD
	begun    chan struct{}
	ended    chan error // why a call that waits came to its end
}

func newServer() *server {
	return &server{metadata: make(chan metadata.MD, 10), begun: make(chan struct{}, 10), ended: make(chan error, 10)}
}

// UnaryCall says back the payload, or fails as it is told to.
func (s *server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	select {
	case s.metadata <- md:
	default: // nobody looks
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("my-metadata", "text", "my-bytes-bin", "\x00\xff", "x-forwarded-user", "root", "set-cookie", "a=b"))
	if want := in.GetResponseStatus(); want.GetCode() != 0 {
		st, err := status.New(codes.Code(want.GetCode()), want.GetMessage()).WithDetails(&testpb.SimpleRequest{Payload: in.GetPayload()})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("my-header", "h"))
	return &testpb.SimpleResponse{Payload: in.GetPayload()}, nil
}

// EmptyCall never answers.
func (s *server) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	s.begun <- struct{}{}
	<-ctx.Done()
	s.ended <- ctx.Err()
	return nil, ctx.Err()
}

// FullDuplexCall says back each payload at once.
func (s *server) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			s.ended <- nil
			return nil
		}
		if err != nil {
			s.ended <- err
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// StreamingInputCall counts what it is sent.
func (s *server) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	var n int32
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: n})
		}
		if err != nil {
			return err
		}
		n += int32(len(in.GetPayload().GetBody()))
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

func payload(n int) *testpb.Payload { return &testpb.Payload{Body: bytes.Repeat([]byte{7}, n)} }

func TestUnaryCalls(t *testing.T) {
	srv := newServer()
	s := newStage(t, srv)
	ctx := metadata.AppendToOutgoingContext(s.signedIn(toolHost), "my-metadata", "mine", "my-bytes-bin", "\x00\xff", "x-forwarded-user", "root", "x_forwarded_user", "root")
	var header, trailer metadata.MD
	for _, size := range []int{0, 1000, 3 << 20} {
		out, err := s.client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(size)}, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || len(out.GetPayload().GetBody()) != size {
			t.Fatalf("%d bytes: %d came back, %v", size, len(out.GetPayload().GetBody()), err)
		}
		got := receive(t, srv.metadata, "metadata")
		if user := got.Get("x-forwarded-user"); len(user) != 1 || user[0] != "alice@example.test" || len(got.Get("x_forwarded_user")) > 0 || len(got.Get("cookie")) > 0 {
			t.Errorf("the server sees %v", got)
		}
		if got.Get("my-metadata")[0] != "mine" || got.Get("my-bytes-bin")[0] != "\x00\xff" {
			t.Errorf("metadata %v", got)
		}
		if header.Get("my-header")[0] != "h" || trailer.Get("my-metadata")[0] != "text" || trailer.Get("my-bytes-bin")[0] != "\x00\xff" {
			t.Errorf("header %v, trailer %v", header, trailer)
		}
		if len(trailer.Get("x-forwarded-user")) > 0 || len(trailer.Get("set-cookie")) > 0 {
			t.Errorf("trailer %v", trailer)
		}
	}
}

func TestOutcomesArriveAsTheyAre(t *testing.T) {
	s := newStage(t, newServer())
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		_, err := s.client.UnaryCall(s.signedIn(toolHost), &testpb.SimpleRequest{
			Payload: payload(10), ResponseStatus: &testpb.EchoStatus{Code: int32(code), Message: "it is: \t ünusual%"},
		})
		got := status.Convert(err)
		if got.Code() != code || got.Message() != "it is: \t ünusual%" || len(got.Details()) != 1 {
			t.Errorf("%s arrives as %s %q with %d details", code, got.Code(), got.Message(), len(got.Details()))
		}
	}
	if _, err := s.client.UnimplementedCall(s.signedIn(toolHost), &testpb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call that there is not: %v", err)
	}
}

func TestStreamsGoBothWays(t *testing.T) {
	srv := newServer()
	s := newStage(t, srv)
	stream, err := s.client.FullDuplexCall(s.signedIn(toolHost))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(i)}); err != nil {
			t.Fatal(err)
		}
		if out, err := stream.Recv(); err != nil || len(out.GetPayload().GetBody()) != i {
			t.Fatalf("%v, %v", out, err)
		}
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	if err := receive(t, srv.ended, "the end at the server"); err != nil {
		t.Errorf("the end at the server: %v", err)
	}

	upload, err := s.client.StreamingInputCall(s.signedIn(toolHost))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := upload.Send(&testpb.StreamingInputCallRequest{Payload: payload(100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := upload.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 10_000_000 {
		t.Errorf("%v, %v", sum, err)
	}
}

func TestDeadlinesAndCancellationsReachTheServer(t *testing.T) {
	srv := newServer()
	s := newStage(t, srv)
	short, cancel := context.WithTimeout(s.signedIn(toolHost), 500*time.Millisecond)
	defer cancel()
	if _, err := s.client.EmptyCall(short, &testpb.Empty{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("after its deadline: %v", err)
	}
	receive(t, srv.begun, "the call")
	_ = receive(t, srv.ended, "the end of it")

	given, giveUp := context.WithCancel(s.signedIn(toolHost))
	failed := make(chan error, 1)
	go func() {
		_, err := s.client.EmptyCall(given, &testpb.Empty{})
		failed <- err
	}()
	receive(t, srv.begun, "the call")
	giveUp()
	if err := receive(t, failed, "the client's end"); status.Code(err) != codes.Canceled {
		t.Errorf("given up: %v", err)
	}
	_ = receive(t, srv.ended, "the server's end")
}

// TestRefusalsHaveACodeOfGRPC: gRPC says what an HTTP status means where a proxy has
// answered.
func TestRefusalsHaveACodeOfGRPC(t *testing.T) {
	s := newStage(t, newServer())
	for name, test := range map[string]struct {
		host string
		ctx  context.Context
		want codes.Code
	}{
		"nobody is signed in":   {toolHost, t.Context(), codes.Unauthenticated},
		"nobody may":            {closedHost, s.signedIn(closedHost), codes.PermissionDenied},
		"the sidecar is down":   {downHost, s.signedIn(downHost), codes.Unavailable},
		"a forged cookie":       {toolHost, metadata.AppendToOutgoingContext(t.Context(), "cookie", "__Host-sallyport=forged"), codes.Unauthenticated},
		"another host's cookie": {toolHost, s.signedIn(closedHost), codes.Unauthenticated},
	} {
		_, err := s.dial(test.host).UnaryCall(test.ctx, &testpb.SimpleRequest{})
		if status.Code(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestAStreamEndsWithItsSession within a second, and not as if it were whole.
func TestAStreamEndsWithItsSession(t *testing.T) {
	srv := newServer()
	s := newStage(t, srv)
	stream, err := s.client.FullDuplexCall(s.signedIn(toolHost))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	s.sessions.Revocations().Revoke(s.state, time.Now().Add(time.Hour))
	begun := time.Now()
	if _, err := stream.Recv(); err == nil || errors.Is(err, io.EOF) || status.Code(err) == codes.OK {
		t.Errorf("the stream ends with %v", err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if err := receive(t, srv.ended, "the end at the server"); err == nil {
		t.Error("at the server the stream ends as if it were whole")
	}
}
