package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"cloud.google.com/go/bigquery/storage/managedwriter/adapt"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Google's own client of the Storage Write API accepts the double: what it
// asks and how it reads the answers is an independent judgement.

type fixture struct {
	peer   *peer
	rest   *httptest.Server
	client *managedwriter.Client
	table  string
}

func start(t *testing.T) *fixture {
	t.Helper()
	p, err := newPeer(&config{data: t.TempDir(), project: "p", dataset: "d"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := p.grpcServer()
	go g.Serve(p.conns.listener(l))
	t.Cleanup(g.Stop)
	f := &fixture{peer: p, rest: httptest.NewServer(p), table: "projects/p/datasets/d/tables/t"}
	t.Cleanup(f.rest.Close)
	f.client, err = managedwriter.NewClient(context.Background(), "p",
		option.WithEndpoint(l.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.client.Close() })
	f.post(t, "/bigquery/v2/projects/p/datasets/d/tables", `{"tableReference":
		{"projectId":"p","datasetId":"d","tableId":"t"},"schema":{"fields":[
		{"name":"name","type":"STRING","mode":"REQUIRED"},{"name":"value","type":"INTEGER"}]}}`)
	return f
}

func (f *fixture) post(t *testing.T, path, body string) map[string]any {
	t.Helper()
	r, err := http.Post(f.rest.URL+path, "application/json", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	out, _ := io.ReadAll(r.Body)
	var m map[string]any
	if r.StatusCode != http.StatusOK || json.Unmarshal(out, &m) != nil {
		t.Fatalf("%s: %d %s", path, r.StatusCode, out)
	}
	return m
}

func (f *fixture) count(t *testing.T) string {
	t.Helper()
	m := f.post(t, "/bigquery/v2/projects/p/queries",
		`{"query":"SELECT COUNT(*) FROM p.d.t","useLegacySql":false}`)
	rows := m["rows"].([]any)
	return fmt.Sprint(dig(rows[0].(map[string]any)["f"].([]any)[0], "v"))
}

func descriptor(t *testing.T, fields ...string) *descriptorpb.DescriptorProto {
	d := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, name := range fields {
		kind := descriptorpb.FieldDescriptorProto_TYPE_STRING
		if name == "value" {
			kind = descriptorpb.FieldDescriptorProto_TYPE_INT64
		}
		d.Field = append(d.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String(name),
			Number: proto.Int32(int32(i + 1)), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{Name: proto.String("row.proto"),
		MessageType: []*descriptorpb.DescriptorProto{d}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := adapt.NormalizeDescriptor(file.Messages().Get(0))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func rows(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), fmt.Sprint(i))
		out[i] = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(i))
	}
	return out
}

func (f *fixture) stream(t *testing.T, kind managedwriter.StreamType, fields ...string) *managedwriter.ManagedStream {
	t.Helper()
	if len(fields) == 0 {
		fields = []string{"name", "value"}
	}
	s, err := f.client.NewManagedStream(context.Background(),
		managedwriter.WithDestinationTable(f.table), managedwriter.WithType(kind),
		managedwriter.WithSchemaDescriptor(descriptor(t, fields...)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func appendAt(s *managedwriter.ManagedStream, data [][]byte, offset int64) (int64, error) {
	options := []managedwriter.AppendOption{}
	if offset >= 0 {
		options = append(options, managedwriter.WithOffset(offset))
	}
	r, err := s.AppendRows(context.Background(), data, options...)
	if err != nil {
		return 0, err
	}
	return r.GetResult(context.Background())
}

func wantCount(t *testing.T, f *fixture, want string) {
	t.Helper()
	if got := f.count(t); got != want {
		t.Errorf("the table has %s rows, not %s", got, want)
	}
}

func wantStorageError(t *testing.T, err error, want storagepb.StorageError_StorageErrorCode) {
	t.Helper()
	api, ok := apierror.FromError(err)
	if !ok {
		t.Fatalf("not an API error: %v", err)
	}
	e := &storagepb.StorageError{}
	if api.Details().ExtractProtoMessage(e) != nil || e.GetCode() != want {
		t.Errorf("got %v, not %s", err, want)
	}
}

func TestDefault(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.DefaultStream)
	for range 3 {
		if _, err := appendAt(s, rows(5), -1); err != nil {
			t.Fatal(err)
		}
	}
	wantCount(t, f, "15")
}

func TestCommitted(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.CommittedStream)
	for i := range 3 {
		if at, err := appendAt(s, rows(5), int64(5*i)); err != nil || at != int64(5*i) {
			t.Fatal(at, err)
		}
		wantCount(t, f, fmt.Sprint(5*i+5))
	}
	if n, err := s.Finalize(context.Background()); err != nil || n != 15 {
		t.Fatal(n, err)
	}
	_, err := appendAt(s, rows(5), 15)
	wantStorageError(t, err, storagepb.StorageError_STREAM_FINALIZED)
}

func TestOffsets(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.CommittedStream)
	if _, err := appendAt(s, rows(5), 0); err != nil {
		t.Fatal(err)
	}
	_, err := appendAt(s, rows(10), 0)
	wantStorageError(t, err, storagepb.StorageError_OFFSET_ALREADY_EXISTS)
	_, err = appendAt(s, rows(5), 6)
	wantStorageError(t, err, storagepb.StorageError_OFFSET_OUT_OF_RANGE)
	wantCount(t, f, "5")
}

func TestPending(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.PendingStream)
	if _, err := appendAt(s, rows(5), 0); err != nil {
		t.Fatal(err)
	}
	commit := func() *storagepb.BatchCommitWriteStreamsResponse {
		r, err := f.client.BatchCommitWriteStreams(context.Background(),
			&storagepb.BatchCommitWriteStreamsRequest{Parent: f.table, WriteStreams: []string{s.StreamName()}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := commit(); r.GetCommitTime() != nil ||
		r.GetStreamErrors()[0].GetCode() != storagepb.StorageError_INVALID_STREAM_STATE {
		t.Errorf("committed before it was finalized: %v", r)
	}
	if _, err := s.Finalize(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, f, "0")
	if r := commit(); r.GetCommitTime() == nil {
		t.Errorf("not committed: %v", r)
	}
	if r := commit(); r.GetStreamErrors()[0].GetCode() != storagepb.StorageError_STREAM_ALREADY_COMMITTED {
		t.Errorf("committed twice: %v", r)
	}
	wantCount(t, f, "5")
}

func TestBuffered(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.BufferedStream)
	if _, err := appendAt(s, rows(5), 0); err != nil {
		t.Fatal(err)
	}
	wantCount(t, f, "0")
	if at, err := s.FlushRows(context.Background(), 2); err != nil || at != 2 {
		t.Fatal(at, err)
	}
	wantCount(t, f, "3")
}

func TestErrors(t *testing.T) {
	f := start(t)
	ctx := context.Background()
	s := f.stream(t, managedwriter.CommittedStream, "name", "value", "more")
	_, err := appendAt(s, rows(1), 0)
	wantStorageError(t, err, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS)

	s = f.stream(t, managedwriter.CommittedStream)
	bad := rows(3)
	bad[1] = bad[1][3:] // without its name
	r, err := s.AppendRows(ctx, bad)
	if err != nil {
		t.Fatal(err)
	}
	full, err := r.FullResponse(ctx)
	if status.Code(err) != codes.InvalidArgument || len(full.GetRowErrors()) != 1 ||
		full.GetRowErrors()[0].GetIndex() != 1 {
		t.Errorf("row errors: %v, %v", err, full)
	}
	wantCount(t, f, "0")
	_, err = f.client.BatchCommitWriteStreams(ctx, &storagepb.BatchCommitWriteStreamsRequest{
		Parent: "projects/p/datasets/d/tables/none", WriteStreams: []string{"x"}})
	wantStorageError(t, err, storagepb.StorageError_TABLE_NOT_FOUND)
}

// What was acknowledged is there after a restart, and streams go on.
func TestRestart(t *testing.T) {
	f := start(t)
	s := f.stream(t, managedwriter.CommittedStream)
	if _, err := appendAt(s, rows(5), 0); err != nil {
		t.Fatal(err)
	}
	again, err := openStore(f.peer.store.log.Name(), f.peer.config)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(again.tables["p/d/t"].rows); n != 5 {
		t.Errorf("%d rows after a restart", n)
	}
	if n := len(again.streams[s.StreamName()].rows); n != 5 {
		t.Errorf("%d rows in the stream after a restart", n)
	}
}
