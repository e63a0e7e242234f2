package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The Storage Write API, strictly: offsets, the states of streams, what may be
// committed, and errors where the service puts them: of appends in the answer,
// of other calls in the status.
type writer struct {
	storagepb.UnimplementedBigQueryWriteServer
	peer *peer
}

const prefix = "projects/"

func storageError(code codes.Code, what storagepb.StorageError_StorageErrorCode, entity, format string, args ...any) error {
	words := fmt.Sprintf(format, args...)
	st, err := status.New(code, words).WithDetails(&storagepb.StorageError{
		Code: what, Entity: entity, ErrorMessage: words})
	if err != nil {
		return err
	}
	return st.Err()
}

func notFound(name string) error {
	if strings.Contains(name, "/streams/") {
		return storageError(codes.NotFound,
			storagepb.StorageError_STREAM_NOT_FOUND, name,
			"Requested entity was not found. Entity: %s", name)
	}
	return storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND,
		name, "Requested entity was not found. Entity: %s", name)
}

// The table's key in the store: "project/dataset/table".
func tableKey(resource string) (string, bool) {
	parts := strings.Split(resource, "/")
	if len(parts) < 6 || parts[0] != "projects" || parts[2] != "datasets" ||
		parts[4] != "tables" {
		return "", false
	}
	return parts[1] + "/" + parts[3] + "/" + parts[5], true
}

func (w *writer) CreateWriteStream(ctx context.Context, in *storagepb.CreateWriteStreamRequest) (*storagepb.WriteStream, error) {
	var made *stream
	err := w.call(ctx, "create", map[string]any{"parent": in.GetParent()}, func() error {
		s := w.peer.store
		key, ok := tableKey(in.GetParent())
		if !ok || s.tables[key] == nil {
			return notFound(in.GetParent())
		}
		kind := in.GetWriteStream().GetType().String()
		if kind != "COMMITTED" && kind != "PENDING" && kind != "BUFFERED" {
			return storageError(codes.InvalidArgument,
				storagepb.StorageError_INVALID_STREAM_TYPE, "", "type %s", kind)
		}
		name := fmt.Sprintf("%s/streams/s%d", in.GetParent(), s.serial+1)
		if err := s.commit(&record{Kind: "stream", Stream: name, Table: key, Type: kind}); err != nil {
			return err
		}
		made = s.streams[name]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made.describe(), nil
}

func (st *stream) describe() *storagepb.WriteStream {
	out := &storagepb.WriteStream{
		Name:       st.name,
		Type:       storagepb.WriteStream_Type(storagepb.WriteStream_Type_value[st.kind]),
		CreateTime: timestamppb.New(st.created),
	}
	if !st.committed.IsZero() {
		out.CommitTime = timestamppb.New(st.committed)
	}
	return out
}

func (w *writer) GetWriteStream(ctx context.Context, in *storagepb.GetWriteStreamRequest) (*storagepb.WriteStream, error) {
	var out *storagepb.WriteStream
	err := w.call(ctx, "get", map[string]any{"stream": in.GetName()}, func() error {
		if strings.HasSuffix(in.GetName(), "/_default") {
			key, ok := tableKey(in.GetName())
			if !ok || w.peer.store.tables[key] == nil {
				return notFound(in.GetName())
			}
			out = &storagepb.WriteStream{Name: in.GetName(),
				Type: storagepb.WriteStream_COMMITTED}
			return nil
		}
		st := w.peer.store.streams[in.GetName()]
		if st == nil {
			return notFound(in.GetName())
		}
		out = st.describe()
		return nil
	})
	return out, err
}

func (w *writer) FinalizeWriteStream(ctx context.Context, in *storagepb.FinalizeWriteStreamRequest) (*storagepb.FinalizeWriteStreamResponse, error) {
	var count int64
	err := w.call(ctx, "finalize", map[string]any{"stream": in.GetName()}, func() error {
		s := w.peer.store
		st := s.streams[in.GetName()]
		if st == nil {
			if strings.HasSuffix(in.GetName(), "/_default") {
				return status.Error(codes.InvalidArgument, "the default stream cannot be finalized")
			}
			return notFound(in.GetName())
		}
		if !st.finalized {
			if err := s.commit(&record{Kind: "finalize", Stream: st.name}); err != nil {
				return err
			}
		}
		count = int64(len(st.rows))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &storagepb.FinalizeWriteStreamResponse{RowCount: count}, nil
}

// All of them are committed or none is; why not is in the answer.
func (w *writer) BatchCommitWriteStreams(ctx context.Context, in *storagepb.BatchCommitWriteStreamsRequest) (*storagepb.BatchCommitWriteStreamsResponse, error) {
	out := &storagepb.BatchCommitWriteStreamsResponse{}
	err := w.call(ctx, "commit", map[string]any{"streams": in.GetWriteStreams()}, func() error {
		s := w.peer.store
		key, _ := tableKey(in.GetParent())
		if s.tables[key] == nil {
			return notFound(in.GetParent())
		}
		for _, name := range in.GetWriteStreams() {
			if e := s.whyNotCommit(name, s.tables[key]); e != nil {
				out.StreamErrors = append(out.StreamErrors, e)
			}
		}
		if len(out.StreamErrors) > 0 {
			return nil
		}
		err := s.commit(&record{Kind: "commit", Names: in.GetWriteStreams()})
		out.CommitTime = timestamppb.New(time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *store) whyNotCommit(name string, t *table) *storagepb.StorageError {
	st := s.streams[name]
	e := &storagepb.StorageError{Entity: name}
	switch {
	case st == nil || st.table != t:
		e.Code = storagepb.StorageError_STREAM_NOT_FOUND
	case st.kind != "PENDING":
		e.Code = storagepb.StorageError_INVALID_STREAM_TYPE
	case !st.committed.IsZero():
		e.Code = storagepb.StorageError_STREAM_ALREADY_COMMITTED
	case !st.finalized:
		e.Code = storagepb.StorageError_INVALID_STREAM_STATE
	default:
		return nil
	}
	e.ErrorMessage = e.Code.String()
	return e
}

func (w *writer) FlushRows(ctx context.Context, in *storagepb.FlushRowsRequest) (*storagepb.FlushRowsResponse, error) {
	offset := in.GetOffset().GetValue()
	err := w.call(ctx, "flush", map[string]any{"stream": in.GetWriteStream()}, func() error {
		s := w.peer.store
		st := s.streams[in.GetWriteStream()]
		if st == nil {
			return notFound(in.GetWriteStream())
		}
		if st.kind != "BUFFERED" {
			return storageError(codes.InvalidArgument,
				storagepb.StorageError_INVALID_STREAM_TYPE, st.name, "type %s", st.kind)
		}
		if offset >= int64(len(st.rows)) {
			return storageError(codes.OutOfRange,
				storagepb.StorageError_OFFSET_OUT_OF_RANGE, st.name,
				"offset %d is beyond the stream", offset)
		}
		return s.commit(&record{Kind: "flush", Stream: st.name, Offset: offset})
	})
	if err != nil {
		return nil, err
	}
	return &storagepb.FlushRowsResponse{Offset: offset}, nil
}

// Requests of one connection: the first names stream and schema, later ones
// may leave them out.
func (w *writer) AppendRows(server storagepb.BigQueryWrite_AppendRowsServer) error {
	var name string
	var descriptor *descriptorpb.DescriptorProto
	for {
		in, err := server.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if in.GetWriteStream() != "" {
			name = in.GetWriteStream()
		}
		if d := in.GetProtoRows().GetWriterSchema().GetProtoDescriptor(); d != nil {
			descriptor = d
		}
		out, err := w.append(server.Context(), name, descriptor, in)
		if err != nil {
			return err
		}
		if err := server.Send(out); err != nil {
			return err
		}
	}
}

// What the service says of the request in its answer is an error of the
// append; what it says instead of an answer is one of the call.
func (w *writer) append(ctx context.Context, name string, d *descriptorpb.DescriptorProto, in *storagepb.AppendRowsRequest) (*storagepb.AppendRowsResponse, error) {
	rows := in.GetProtoRows().GetRows().GetSerializedRows()
	out := &storagepb.AppendRowsResponse{WriteStream: name}
	note := map[string]any{"stream": name, "rows": len(rows)}
	if in.GetOffset() != nil {
		note["offset"] = in.GetOffset().GetValue()
	}
	var refused error
	err := w.call(ctx, "append", note, func() error {
		if d == nil {
			return status.Error(codes.InvalidArgument, "the first request of a connection needs a writer schema")
		}
		var err error
		refused, err = w.peer.store.append(name, d, rows, in.GetOffset(), out, w.peer.faults)
		if refused != nil {
			note["refused"] = status.Code(refused).String()
		}
		return err
	})
	if inBand, ok := err.(*inBandError); ok {
		refused, err = inBand.error, nil
	}
	if err != nil {
		return nil, err
	}
	if refused != nil {
		out.Response = &storagepb.AppendRowsResponse_Error{Error: status.Convert(refused).Proto()}
	}
	return out, nil
}

// Returns what is said in the answer, and what instead of one.
func (s *store) append(name string, d *descriptorpb.DescriptorProto, rows [][]byte, offset *wrapperspb.Int64Value, out *storagepb.AppendRowsResponse, f *faults) (refused, failed error) {
	key, ok := tableKey(name)
	if !ok || s.tables[key] == nil {
		return nil, notFound(name)
	}
	t := s.tables[key]
	st := s.streams[name]
	isDefault := strings.HasSuffix(name, "/streams/_default")
	switch {
	case isDefault && offset != nil:
		return status.Error(codes.InvalidArgument, "an offset on the default stream"), nil
	case !isDefault && (st == nil || st.table != t):
		return nil, notFound(name)
	case !isDefault && st.finalized:
		return storageError(codes.FailedPrecondition,
			storagepb.StorageError_STREAM_FINALIZED, name, "Stream is finalized. Entity: %s", name), nil
	case len(rows) == 0:
		return status.Error(codes.InvalidArgument, "no rows"), nil
	}
	schema := newSchema(d)
	extra, wrong := schema.check(t)
	if len(extra) > 0 {
		return storageError(codes.InvalidArgument,
			storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS, name,
			"Input schema has more fields than BigQuery schema, extra fields: '%s'", strings.Join(extra, ",")), nil
	}
	if wrong != "" {
		return status.Error(codes.InvalidArgument, wrong), nil
	}
	if !isDefault {
		if refused := st.checkOffset(offset); refused != nil {
			return refused, nil
		}
	}
	if out.RowErrors = t.rowErrors(schema, rows, f); len(out.RowErrors) > 0 {
		return status.Error(codes.InvalidArgument,
			"Errors found while processing rows. Please refer to the row_errors field for details."), nil
	}
	data, err := encodeAppend(d, rows)
	if err != nil {
		return nil, err
	}
	r := &record{Kind: "append", Table: key, data: data}
	result := &storagepb.AppendRowsResponse_AppendResult{}
	if !isDefault {
		r.Stream = name
		result.Offset = wrapperspb.Int64(int64(len(st.rows)))
	}
	out.Response = &storagepb.AppendRowsResponse_AppendResult_{AppendResult: result}
	return nil, s.commit(r)
}

func (st *stream) checkOffset(offset *wrapperspb.Int64Value) error {
	next := int64(len(st.rows))
	switch {
	case offset == nil || offset.GetValue() == next:
		return nil
	case offset.GetValue() < next:
		return storageError(codes.AlreadyExists,
			storagepb.StorageError_OFFSET_ALREADY_EXISTS, st.name,
			"The offset is within stream, expected offset %d, received %d", next, offset.GetValue())
	}
	return storageError(codes.OutOfRange,
		storagepb.StorageError_OFFSET_OUT_OF_RANGE, st.name,
		"The offset is beyond stream, expected offset %d, received %d", next, offset.GetValue())
}

func (t *table) rowErrors(s *schema, rows [][]byte, f *faults) []*storagepb.RowError {
	var found []*storagepb.RowError
	now := time.Now()
	for i, b := range rows {
		values, err := s.decode(b)
		why := ""
		if err != nil {
			why = err.Error()
		} else if why = t.checkRow(values, now); why == "" && f.isPoison(t, values) {
			why = "Field metadata: the value <" + text(values["metadata"]) + "> is not to our taste"
		}
		if why != "" {
			found = append(found, &storagepb.RowError{Index: int64(i),
				Code: storagepb.RowError_FIELDS_ERROR, Message: why})
		}
	}
	return found
}

// One call: its faults, its work under the store's lock, and its line in the
// journal, which says what was done whatever was answered.
func (w *writer) call(ctx context.Context, name string, note map[string]any, work func() error) error {
	p := w.peer
	drop := func() { p.conns.drop(ctx) }
	if err := p.faults.meet(ctx, name, "before", drop); err != nil {
		note["fault"] = "before"
		p.journal.add(name, note, err)
		return err
	}
	p.store.mu.Lock()
	err := work()
	p.journal.add(name, note, err)
	p.store.mu.Unlock()
	if fault := p.faults.meet(ctx, name, "after", drop); fault != nil {
		return fault
	}
	return err
}
