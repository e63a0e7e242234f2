package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// benchClient tells how fast the double takes rows from Google's own client:
// those that a log of the double has for another table, in a committed stream,
// one append after the other or, with --in-flight, several at a time.  Prints
// rows a second.
func benchClient(args []string) {
	f := flag.NewFlagSet("bench-client", flag.ExitOnError)
	address := f.String("grpc", "", "host:port of the Storage Write API")
	table := f.String("table", "", "projects/p/datasets/d/tables/t")
	name := f.String("log", "", "a double's")
	from := f.String("from", "", "whose rows: p/d/t")
	batch := f.Int("batch", 10000, "rows in one append")
	inFlight := f.Int("in-flight", 1, "appends that are not answered yet")
	f.Parse(args)
	ctx := context.Background()
	client, err := managedwriter.NewClient(ctx, "p", option.WithEndpoint(*address),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		log.Fatal(err)
	}
	d, rows, err := rowsOfLog(*name, *from)
	if err != nil {
		log.Fatal(err)
	}
	stream, err := client.NewManagedStream(ctx, managedwriter.WithDestinationTable(*table),
		managedwriter.WithType(managedwriter.CommittedStream), managedwriter.WithSchemaDescriptor(d))
	if err != nil {
		log.Fatal(err)
	}
	start := time.Now()
	var waiting []*managedwriter.AppendResult
	for done := 0; done < len(rows); done += *batch {
		r, err := stream.AppendRows(ctx, rows[done:min(done+*batch, len(rows))],
			managedwriter.WithOffset(int64(done)))
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
	fmt.Printf("%.0f\n", float64(len(rows))/time.Since(start).Seconds())
}

// What was appended to a table, as it was encoded, and the descriptor that says
// how.
func rowsOfLog(name, table string) (*descriptorpb.DescriptorProto, [][]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var d *descriptorpb.DescriptorProto
	var rows [][]byte
	_, err = readLog(bufio.NewReaderSize(f, 1<<20), func(r *record) error {
		if r.Kind != "append" || r.Table != table {
			return nil
		}
		var data storagepb.AppendRowsRequest_ProtoData
		if err := proto.Unmarshal(r.data, &data); err != nil {
			return err
		}
		d = data.GetWriterSchema().GetProtoDescriptor()
		rows = append(rows, data.GetRows().GetSerializedRows()...)
		return nil
	})
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%s: no rows of %s", name, table)
	}
	return d, rows, err
}
