use strict;
use warnings;

# LemonLDAP::NG's portal with two people of ours. It is behind a listener with TLS,
# under the address in INTEROP_ORIGIN.
BEGIN {

    # The portal loads a captcha whether it shows one or not; its own draws with
    # ImageMagick.
    package Lemonldap::NG::Portal::Captcha::None;
    use Mouse;
    extends 'Lemonldap::NG::Portal::Main::Plugin';
    sub init { return 1 }
    $INC{'Lemonldap/NG/Portal/Captcha/None.pm'} = __FILE__;
}
use Lemonldap::NG::Portal::Main;
use Lemonldap::NG::Portal::UserDB::Demo;

# In its demonstration mode the password is the name.
%Lemonldap::NG::Portal::UserDB::Demo::demoAccounts = (
    alice => { uid => 'alice', cn => 'Alice Archer', mail => 'alice@example.com' },
    bob   => { uid => 'bob',   cn => 'Bob Baker',    mail => 'bob@example.com' },
);
%Lemonldap::NG::Portal::UserDB::Demo::demoGroups =
  ( engineers => ['alice'], admins => ['alice'], support => ['bob'] );

my ($host) = $ENV{INTEROP_ORIGIN} =~ m{^https://(.*)$};
my $portal = Lemonldap::NG::Portal::Main->run( {} );

sub {
    my ($env) = @_;
    $env->{HTTPS}             = 'on';
    $env->{HTTP_HOST}         = $host;
    $env->{'psgi.url_scheme'} = 'https';
    return $portal->($env);
};
