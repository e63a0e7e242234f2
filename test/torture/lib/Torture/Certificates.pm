# Certificates of a store: the right one, and those that no lane may trust.
package Torture::Certificates;

use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);

my @wrong = qw(expired elsewhere self_signed);

# NB: all have the same key, so that there is no moment at which key and
# certificate do not match.
my $script = <<'EOC';
set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
openssl req $key -subj /CN=127.0.0.1 -keyout server.key -out here.csr
openssl req -new -key server.key -subj /CN=elsewhere.invalid -out there.csr
printf 'subjectAltName=IP:127.0.0.1' >here
printf 'subjectAltName=DNS:elsewhere.invalid' >there
cat >conf <<'EOF'
[ca]
default_ca = it
[it]
new_certs_dir = .
database = index
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
EOF
touch index
sign()
{
	openssl ca -batch -notext -config conf -cert ca.pem -keyfile ca.key \
		-extfile $2 -startdate 20200101000000Z -enddate $3 \
		-in $2.csr -out $1.pem
}
sign right here 20491231235959Z
sign expired here 20200102000000Z
sign elsewhere there 20491231235959Z
openssl req -x509 -key server.key -days 2 -subj /CN=127.0.0.1 \
	-addext subjectAltName=IP:127.0.0.1 -out self_signed.pem
chmod 600 server.key
EOC

# Made in a new directory.  undef: there is no openssl.
sub new
{
	my ($class, $dir) = @_;
	my $self = bless { dir => $dir, is_wrong => 0 }, $class;

	return undef
	  if system('sh', '-c', 'openssl version >/dev/null 2>&1') != 0;
	mkdir $dir or die "could not create $dir: $!\n";
	open my $shell, '|-', "cd '$dir' && sh >log 2>&1" or die "no shell: $!\n";
	print $shell $script;
	close $shell or die "could not make certificates, see $dir/log\n";
	$self->show('right');
	return $self;
}

sub authority { my ($self) = @_; return "$self->{dir}/ca.pem" }

sub certificate { my ($self) = @_; return "$self->{dir}/server.pem" }

sub key { my ($self) = @_; return "$self->{dir}/server.key" }

# What the store shows from its next reading of the file on.
sub show
{
	my ($self, $name) = @_;
	my $file = $self->certificate;

	copy("$self->{dir}/$name.pem", "$file.new") or die "$file.new: $!\n";
	rename "$file.new", $file or die "$file: $!\n";
	$self->{is_wrong} = $name ne 'right';
	return;
}

sub show_wrong
{
	my ($self) = @_;

	$self->show($wrong[ rand @wrong ]);
	return;
}

sub is_wrong { my ($self) = @_; return $self->{is_wrong} }

1;
