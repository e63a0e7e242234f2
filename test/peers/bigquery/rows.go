package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What a writer says of its rows: for each field its column, resolved when
// the table is known.
type schema struct {
	fields map[protowire.Number]*descriptorpb.FieldDescriptorProto
}

func newSchema(d *descriptorpb.DescriptorProto) *schema {
	s := &schema{fields: map[protowire.Number]*descriptorpb.FieldDescriptorProto{}}
	for _, f := range d.GetField() {
		s.fields[protowire.Number(f.GetNumber())] = f
	}
	return s
}

// The log keeps a ProtoData for each append.
func encodeAppend(d *descriptorpb.DescriptorProto, rows [][]byte) ([]byte, error) {
	return proto.Marshal(&storagepb.AppendRowsRequest_ProtoData{
		WriterSchema: &storagepb.ProtoSchema{ProtoDescriptor: d},
		Rows:         &storagepb.ProtoRows{SerializedRows: rows},
	})
}

func decodeAppend(data []byte) (*schema, [][]byte, error) {
	var d storagepb.AppendRowsRequest_ProtoData
	if err := proto.Unmarshal(data, &d); err != nil {
		return nil, nil, err
	}
	return newSchema(d.GetWriterSchema().GetProtoDescriptor()),
		d.GetRows().GetSerializedRows(), nil
}

// Which proto types hold which column's values: Google's table of supported
// types, as far as this project's columns and the client's tests go.
var protoTypes = map[string][]descriptorpb.FieldDescriptorProto_Type{
	"STRING":    {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"JSON":      {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"NUMERIC":   {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"INT64":     {descriptorpb.FieldDescriptorProto_TYPE_INT64},
	"TIMESTAMP": {descriptorpb.FieldDescriptorProto_TYPE_INT64},
	"FLOAT64":   {descriptorpb.FieldDescriptorProto_TYPE_DOUBLE},
	"BOOL":      {descriptorpb.FieldDescriptorProto_TYPE_BOOL},
	"BYTES":     {descriptorpb.FieldDescriptorProto_TYPE_BYTES},
}

// What is wrong with a writer's schema: fields the table lacks, by name, and
// types that do not go together.
func (s *schema) check(t *table) (extra []string, wrong string) {
	for _, f := range s.fields {
		c, ok := t.columns[strings.ToLower(f.GetName())]
		if !ok {
			extra = append(extra, f.GetName())
			continue
		}
		fits := false
		for _, kind := range protoTypes[c.kind] {
			fits = fits || kind == f.GetType()
		}
		if !fits || f.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED {
			wrong = fmt.Sprintf("field %s of type %s does not fit column of type %s",
				f.GetName(), f.GetType(), c.kind)
		}
	}
	return extra, wrong
}

// decode reads an encoded row strictly: every field must be of the schema, in
// the wire type of its kind, and at most once.
func (s *schema) decode(b []byte) (map[string]any, error) {
	values := make(map[string]any, len(s.fields))
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("malformed tag")
		}
		b = b[n:]
		f := s.fields[number]
		if f == nil {
			return nil, fmt.Errorf("unknown field %d", number)
		}
		v, n := consume(f.GetType(), wire, b)
		if n < 0 {
			return nil, fmt.Errorf("field %s: malformed", f.GetName())
		}
		if _, twice := values[f.GetName()]; twice {
			return nil, fmt.Errorf("field %s: twice", f.GetName())
		}
		values[f.GetName()] = v
		b = b[n:]
	}
	return values, nil
}

func consume(kind descriptorpb.FieldDescriptorProto_Type, wire protowire.Type, b []byte) (any, int) {
	switch {
	case kind == descriptorpb.FieldDescriptorProto_TYPE_INT64 && wire == protowire.VarintType:
		v, n := protowire.ConsumeVarint(b)
		return int64(v), n
	case kind == descriptorpb.FieldDescriptorProto_TYPE_BOOL && wire == protowire.VarintType:
		v, n := protowire.ConsumeVarint(b)
		return v != 0, n
	case kind == descriptorpb.FieldDescriptorProto_TYPE_DOUBLE && wire == protowire.Fixed64Type:
		v, n := protowire.ConsumeFixed64(b)
		return math.Float64frombits(v), n
	case kind == descriptorpb.FieldDescriptorProto_TYPE_STRING && wire == protowire.BytesType:
		v, n := protowire.ConsumeBytes(b)
		return string(v), n
	case kind == descriptorpb.FieldDescriptorProto_TYPE_BYTES && wire == protowire.BytesType:
		return protowire.ConsumeBytes(b)
	}
	return nil, -1
}

// What BigQuery says of a row's values; empty: it takes them.
func (t *table) checkRow(values map[string]any, now time.Time) string {
	partitioned, isPartitioned := t.partition()
	for _, c := range t.columns {
		v, present := values[c.name]
		if !present || v == nil {
			if c.mode == "REQUIRED" {
				return "Field " + c.name + " is required"
			}
			continue
		}
		if why := checkValue(c, v); why != "" {
			return "Field " + c.name + ": " + why
		}
		if isPartitioned && c.name == partitioned {
			at := time.UnixMicro(v.(int64))
			if at.Before(now.AddDate(-5, 0, 0)) || at.After(now.AddDate(1, 0, 0)) {
				return "Field " + c.name +
					" is outside the allowed bounds of 5 years in the past and 1 year in the future"
			}
		}
	}
	return ""
}

func checkValue(c column, v any) string {
	switch c.kind {
	case "STRING":
		if s, ok := v.(string); !ok || !utf8.ValidString(s) {
			return "not UTF-8"
		}
	case "JSON":
		if s, ok := v.(string); !ok || !json.Valid([]byte(s)) {
			return "not JSON"
		}
	case "NUMERIC":
		s, ok := v.(string)
		if !ok || !isNumeric(s) {
			return "not NUMERIC"
		}
	case "TIMESTAMP":
		i, ok := v.(int64)
		if !ok || i < -62135596800000000 || i >= 253402300800000000 {
			return "not a TIMESTAMP"
		}
	}
	return ""
}

// At most 29 digits before the point and 9 behind it.
func isNumeric(s string) bool {
	r, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "eE/_xXpP") {
		return false
	}
	r.Mul(r, big.NewRat(1_000_000_000, 1))
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)
	return r.IsInt() && new(big.Int).Abs(r.Num()).Cmp(limit) < 0
}

// All of a row's values, in the form that insertAll takes them in.
func (r *row) json(t *table) map[string]any {
	values := r.values
	if r.schema != nil {
		values, _ = r.schema.decode(r.bytes)
	}
	out := make(map[string]any, len(values))
	for name, v := range values {
		switch x := v.(type) {
		case int64:
			if t.columns[strings.ToLower(name)].kind == "TIMESTAMP" {
				out[name] = time.UnixMicro(x).UTC().Format("2006-01-02T15:04:05.000000Z")
			} else {
				out[name] = fmt.Sprint(x)
			}
		case float64:
			switch {
			case math.IsNaN(x):
				out[name] = "NaN"
			case math.IsInf(x, 1):
				out[name] = "Infinity"
			case math.IsInf(x, -1):
				out[name] = "-Infinity"
			default:
				out[name] = x
			}
		default:
			out[name] = v
		}
	}
	return out
}
