package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"cloud.google.com/go/bigquery/storage/managedwriter"
	"cloud.google.com/go/bigquery/storage/managedwriter/adapt"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// benchClient tells how fast the double takes rows from Google's own client:
// rows of 33 fields, encoded beforehand, in a committed stream, one append
// after the other or, with --in-flight, several at a time.  Prints rows a
// second.
func benchClient(args []string) {
	f := flag.NewFlagSet("bench-client", flag.ExitOnError)
	address := f.String("grpc", "", "host:port of the Storage Write API")
	table := f.String("table", "", "projects/p/datasets/d/tables/t")
	total := f.Int("rows", 500000, "how many")
	batch := f.Int("batch", 10000, "in one append")
	inFlight := f.Int("in-flight", 1, "appends that are not answered yet")
	f.Parse(args)
	ctx := context.Background()
	client, err := managedwriter.NewClient(ctx, "p", option.WithEndpoint(*address),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		log.Fatal(err)
	}
	d := benchDescriptor()
	stream, err := client.NewManagedStream(ctx, managedwriter.WithDestinationTable(*table),
		managedwriter.WithType(managedwriter.CommittedStream), managedwriter.WithSchemaDescriptor(d))
	if err != nil {
		log.Fatal(err)
	}
	rows := make([][]byte, *batch)
	for i := range rows {
		rows[i] = benchRow(i)
	}
	start := time.Now()
	var waiting []*managedwriter.AppendResult
	for done := 0; done < *total; done += *batch {
		r, err := stream.AppendRows(ctx, rows, managedwriter.WithOffset(int64(done)))
		if err != nil {
			log.Fatal(err)
		}
		if waiting = append(waiting, r); len(waiting) < *inFlight {
			continue
		}
		if _, err := waiting[0].GetResult(ctx); err != nil {
			log.Fatal(err)
		}
		waiting = waiting[1:]
	}
	for _, r := range waiting {
		if _, err := r.GetResult(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%.0f\n", float64(*total)/time.Since(start).Seconds())
}

var benchColumns = []string{"event_id", "trace_id", "timestamp", "duration_ms",
	"provider", "model", "input_tokens", "output_tokens", "total_tokens",
	"cached_tokens", "cost_usd", "endpoint", "request_type", "user_id",
	"session_id", "organization_id", "app_name", "environment", "status",
	"metadata", "feature", "team", "project", "cost_center"}

func benchKind(name string) descriptorpb.FieldDescriptorProto_Type {
	switch name {
	case "timestamp", "input_tokens", "output_tokens", "total_tokens", "cached_tokens":
		return descriptorpb.FieldDescriptorProto_TYPE_INT64
	case "duration_ms":
		return descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	}
	return descriptorpb.FieldDescriptorProto_TYPE_STRING
}

func benchDescriptor() *descriptorpb.DescriptorProto {
	d := &descriptorpb.DescriptorProto{Name: proto.String("Event")}
	for i, name := range benchColumns {
		d.Field = append(d.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(int32(i + 1)),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type:  benchKind(name).Enum()})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("event.proto"), MessageType: []*descriptorpb.DescriptorProto{d}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	out, err := adapt.NormalizeDescriptor(file.Messages().Get(0))
	if err != nil {
		log.Fatal(err)
	}
	return out
}

func benchRow(i int) []byte {
	var b []byte
	for n, name := range benchColumns {
		number := protowire.Number(n + 1)
		switch benchKind(name) {
		case descriptorpb.FieldDescriptorProto_TYPE_INT64:
			v := uint64(1000 + i)
			if name == "timestamp" {
				v = uint64(time.Now().UnixMicro())
			}
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
		case descriptorpb.FieldDescriptorProto_TYPE_DOUBLE:
			b = protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), 4645040803167600640)
		default:
			b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), benchText(name, i))
		}
	}
	return b
}

func benchText(name string, i int) string {
	switch name {
	case "event_id", "trace_id":
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
	case "cost_usd":
		return fmt.Sprintf("0.%08d", i)
	case "metadata":
		return fmt.Sprintf(`{"attempt": 1, "n": %d}`, i)
	}
	return "some text " + name
}
