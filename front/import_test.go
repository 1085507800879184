package front

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
)

// What files become: the flags of each command, and the lines that matter and are not taken.
var imports = []struct {
	name    string
	program string
	file    string
	want    []string
	left    []string // LINE: a part of the reason
}{
	{"an old PC before four Raspberry Pis", "apache", `
ProxyRequests Off
ProxyPreserveHost On
<Proxy balancer://cluster>
    BalancerMember http://192.168.1.11:80
    BalancerMember http://192.168.1.12:80
    BalancerMember http://192.168.1.13:80
    BalancerMember http://192.168.1.14:80
    Order deny,allow
    Allow from all
    ProxySet lbmethod=byrequests
</Proxy>
<Location /balancer-manager>
    SetHandler balancer-manager
    Order deny,allow
    Deny from all
    Allow from 192.168.1.0/24
</Location>
ProxyPass /balancer-manager !
ProxyPass / balancer://cluster/
ProxyPassReverse / balancer://cluster/
`, []string{"--listen :80 --backend http://192.168.1.11:80 --backend http://192.168.1.12:80 --backend http://192.168.1.13:80 --backend http://192.168.1.14:80 --balance byrequests"},
		[]string{"13: front serve has no such page", "19: no exceptions"}},

	{"all that members have", "apache", `
# Case and quotes are as people like them, a \
line that goes on included
listen 8080
HEADER add Set-Cookie "ROUTEID=.%{BALANCER_WORKER_ROUTE}e; path=/" env=BALANCER_ROUTE_CHANGED
<proxy "balancer://Pis">
  balancermember "http://pi1.lan:8000" route=a loadfactor=1.5 retry=5 ping=2 connectiontimeout=1
  BalancerMember 'http://pi2.lan:8000' route=b \
      loadfactor=3 timeout=20
  BalancerMember http://pi3.lan:8000 lbset=1
  BalancerMember http://pi4.lan:8000 status=+H
  BalancerMember http://pi5.lan:8000 status=R
  BalancerMember http://pi6.lan:8000 status=+D
  BalancerMember http://pi7.lan:8000/app
  BalancerMember https://pi8.lan
  BalancerMember http://pi9.lan:8000 status=-D redirect=a
  ProxySet lbmethod=bybusyness stickysession=ROUTEID failonstatus=500,503 nofailover=On maxattempts=2 timeout=3
</proxy>
ProxyPass "/" "balancer://pis/"
`, []string{"--listen :8080 --backend http://pi1.lan:8000,weight=3,route=a --backend http://pi2.lan:8000,weight=6,route=b --backend http://pi3.lan:8000,set=1" +
		" --backend http://pi4.lan:8000,standby --backend http://pi5.lan:8000,weight=2,spare --backend http://pi9.lan:8000,weight=2" +
		" --balance bybusyness --sticky ROUTEID --timeout 20s --fail-on 500,503"},
		[]string{"13: left out", "14: as visitors asked", "15: only http://", "16: redirect=", "17: nofailover="}},

	{"virtual hosts, TLS and everybody sent there", "apache", `
Listen 80
Listen 443
<VirtualHost *:80>
  ServerName shop.example
  ServerAlias www.shop.example
  Redirect permanent / https://shop.example/
</VirtualHost>
<IfModule mod_ssl.c>
<VirtualHost _default_:443>
  ServerName shop.example:443
  ServerAlias www.shop.example *.cdn.example
  SSLEngine on
  SSLProtocol all -SSLv3
  SSLCertificateFile "/etc/ssl/my shop.pem"
  SSLCertificateKeyFile /etc/ssl/shop.key
  ProxyPreserveHost On
  ProxyPass /api http://10.0.0.21:9000/api timeout=5
  ProxyPass / http://10.0.0.20:9000/ timeout=5
  RequestHeader set X-Forwarded-Proto "https"
</VirtualHost>
<VirtualHost *:443>
  ServerName blog.example
  SSLEngine on
  SSLCertificateFile /etc/ssl/blog.pem
  <Location "/">
    ProxyPass http://10.0.0.30:8000/ timeout=5
    Require ip 10.0.0.0/8
  </Location>
</VirtualHost>
</IfModule>
`, []string{"--listen :80 --listen-tls :443 --cert '/etc/ssl/my shop.pem' --key /etc/ssl/shop.key --cert /etc/ssl/blog.pem --key /etc/ssl/blog.pem --https-only" +
		" --backend http://10.0.0.21:9000,path=/api --backend http://10.0.0.20:9000 --backend http://10.0.0.30:8000,host=blog.example --balance byrequests --timeout 5s"},
		[]string{"12: whole names", "28: does not choose visitors"}},

	{"ports with pools of their own, and what the first line takes", "apache", `
<VirtualHost *:8001>
  ProxyPass /a http://10.0.0.1/a
  ProxyPass /a/b http://10.0.0.2/a/b
  ProxyPass /old http://10.0.0.3/new
</VirtualHost>
<VirtualHost 127.0.0.1:8002 [::1]:8002>
  ProxyPass / http://10.0.0.4
  RewriteEngine on
  RewriteCond %{HTTP:Upgrade} websocket [NC]
  RewriteRule ^/?(.*) "ws://10.0.0.4/$1" [P,L]
  RewriteRule ^/x /y
  Include conf/more.conf
</VirtualHost>
`, []string{"--listen :8001 --backend http://10.0.0.1:80,path=/a --balance byrequests",
		"--listen 127.0.0.1:8002 --listen '[::1]:8002' --backend http://10.0.0.4:80 --balance byrequests"},
		[]string{"4: line 3 takes", "5: as visitors asked", "12: does not rewrite", "13: import it by itself"}},

	{"a cookie of the members' own", "apache", `
<Proxy balancer://app>
  BalancerMember http://10.0.0.1:8080 route=one
  BalancerMember http://10.0.0.2:8080 route=two
</Proxy>
ProxyPass / balancer://app/ stickysession=JSESSIONID|jsessionid lbmethod=bytraffic
`, []string{"--listen :80 --backend http://10.0.0.1:8080,route=one --backend http://10.0.0.2:8080,route=two --balance bytraffic"},
		[]string{"6: a cookie of the members' own"}},

	{"how large bodies may be", "apache", `
Listen 8080
Listen 8081
Listen 8082
LimitRequestBody 1048576
<VirtualHost *:8080>
  ProxyPass / http://10.0.0.1/
</VirtualHost>
<VirtualHost *:8081>
  LimitRequestBody 0
  ProxyPass / http://10.0.0.1/
  <Location /nothing>
    LimitRequestBody 1
  </Location>
</VirtualHost>
<VirtualHost *:8082>
  <Location /upload>
    LimitRequestBody 1500
    ProxyPass http://10.0.0.1/upload
  </Location>
</VirtualHost>
`, []string{"--listen :8080 --backend http://10.0.0.1:80 --balance byrequests --max-body 1m", "--listen :8081 --backend http://10.0.0.1:80 --balance byrequests",
		"--listen :8082 --backend http://10.0.0.1:80,path=/upload --balance byrequests --max-body 1500"},
		[]string{"13: all that a front serves"}},

	{"how large bodies may be", "nginx", `
client_max_body_size 8M;
server { listen 8080; client_max_body_size 0; location / { proxy_pass http://10.0.0.1; } }
server { listen 8081; location / { proxy_pass http://10.0.0.1; } location /upload/ { client_max_body_size 2g; proxy_pass http://10.0.0.1; } }
`, []string{"--listen :8080 --backend http://10.0.0.1:80 --balance byrequests", "--listen :8081 --backend http://10.0.0.1:80 --backend http://10.0.0.1:80,path=/upload --balance byrequests --max-body 8m"},
		[]string{"4: --fail-on and --max-body"}},

	{"upstreams of a whole nginx.conf", "nginx", `
user www-data;
worker_processes auto;
events { worker_connections 768; }
http {
  include /etc/nginx/mime.types;
  sendfile on; # and more
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  upstream app {
    least_conn;
    server 10.0.0.11:8080 weight=300 max_fails=3 fail_timeout=30s;
    server 10.0.0.12:8080 weight=100;
    server 10.0.0.13:8080 backup;
    server 10.0.0.14:8080 down;
    server unix:/run/app.sock;
    keepalive 32;
  }
  server {
    listen 80 default_server; listen [::]:80 default_server;
    server_name shop.example www.shop.example;
    client_max_body_size 20m;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host "${host}";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_next_upstream error timeout http_502 http_503;
      proxy_read_timeout 90;
    }
    location ~ \.php$ { proxy_pass http://app; }
    location /img/ { proxy_pass http://10.0.0.20/; }
    location /static/ { root /srv; }
  }
}
`, []string{"--listen :80 --backend http://10.0.0.11:8080,weight=3 --backend http://10.0.0.12:8080 --backend http://10.0.0.13:8080,standby" +
		" --balance bybusyness --timeout 1m30s --max-body 20m --fail-on 502,503"},
		[]string{"14: left out", "15: no address", "29: X-Forwarded-For alone", "33: how they begin", "34: as visitors asked", "35: no server is behind it"}},

	{"what certbot has made of a site", "nginx", `
upstream pis { random two least_conn; server pi1.lan; server pi2.lan; }
server {
  server_name shop.example www.shop.example;
  location / { proxy_pass http://pis; proxy_set_header Host $host; }
  location ^~ /api/ { proxy_pass http://pis/api/; proxy_set_header Host $host; auth_basic "who?"; }
  listen [::]:443 ssl ipv6only=on; # managed by Certbot
  listen 443 ssl; # managed by Certbot
  ssl_certificate /etc/letsencrypt/live/shop.example/fullchain.pem; # managed by Certbot
  ssl_certificate_key /etc/letsencrypt/live/shop.example/privkey.pem; # managed by Certbot
  include /etc/letsencrypt/options-ssl-nginx.conf; # managed by Certbot
}
server {
  if ($host = www.shop.example) {
    return 301 https://$host$request_uri;
  } # managed by Certbot
  if ($host = shop.example) {
    return 301 https://$host$request_uri;
  }
  listen 80;
  server_name shop.example www.shop.example;
  return 404; # managed by Certbot
}
`, []string{"--listen :80 --listen-tls :443 --cert /etc/letsencrypt/live/shop.example/fullchain.pem --key /etc/letsencrypt/live/shop.example/privkey.pem --https-only" +
		" --backend http://pi1.lan:80 --backend http://pi2.lan:80 --backend http://pi1.lan:80,path=/api --backend http://pi2.lan:80,path=/api"},
		[]string{"6: no counterpart", "11: import it by itself"}},

	{"names and the one for the rest", "nginx", `
server { listen 8080; server_name a.example; location / { proxy_pass http://10.0.0.1; } }
server { listen 8080 default_server; server_name _; location /x/ { proxy_pass http://10.0.0.2; } }
server { listen 8080; server_name ~^b; location / { proxy_pass http://10.0.0.3; } }
server { listen 8081; server_name c.example; return 301 https://c.example$request_uri; }
`, []string{"--listen :8080 --backend http://10.0.0.2:80,path=/x --backend http://10.0.0.1:80,host=a.example --balance byrequests"},
		[]string{"4: whole names", "4: no name that a front could know", "5: nothing here is served with TLS"}},
}

func importOf(program, text string) (Imported, error) {
	if program == "nginx" {
		return ImportNginx(text)
	}
	return ImportApache(text)
}

func TestImport(t *testing.T) {
	for _, c := range imports {
		t.Run(c.name, func(t *testing.T) {
			im, err := importOf(c.program, c.file)
			if err != nil {
				t.Fatal(err, fault.Of(err).Try)
			}
			var got []string
			for _, s := range im.Setups {
				got = append(got, strings.Join(s.flags(), " "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			left := c.left
			for _, u := range im.Untaken {
				if !u.Matters {
					continue
				}
				if len(left) > 0 {
					line, why, _ := strings.Cut(left[0], ": ")
					if fmt.Sprint(u.Line) == line && strings.Contains(u.Why, why) {
						left = left[1:]
						continue
					}
				}
				t.Errorf("line %d, %s: %s", u.Line, u.Text, u.Why)
			}
			if len(left) > 0 {
				t.Errorf("not named: %q", left)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	haproxy := "global\n\tmaxconn 10\nfrontend a\n\tbind :80\n"
	cases := []struct{ program, text, want string }{
		{"apache", "server {\n listen 80;\n}\n", "looks like a configuration of nginx"},
		{"nginx", "<VirtualHost *:80>\n</VirtualHost>\n", "looks like a configuration of Apache"},
		{"nginx", haproxy, "looks like a configuration of HAProxy"},
		{"apache", haproxy, "looks like a configuration of HAProxy"},
		{"apache", "\x7fELF\x00\x01", "no text file"},
		{"apache", "", "no line of this says"},
		{"nginx", "hello;", "no line of this says"},
		{"nginx", "{\"a\": 1}", "not expected here"},
		{"apache", strings.Repeat("#", MaxImport+1), "more than 1024 KiB"},
		{"apache", strings.Repeat("a b\n", maxTokens), "more than 100000 words"},
		{"nginx", strings.Repeat("a;", maxTokens), "more than 100000 words"},
		{"apache", strings.Repeat("<a>\n", 40), "within more than 32"},
		{"nginx", strings.Repeat("a{", 40), "within more than 32"},
		{"apache", "<Proxy balancer://a>\n", "line 1: <Proxy balancer://a> has no end"},
		{"apache", "<Proxy a>\n</Location>\n", "line 2: </location> ends nothing"},
		{"apache", "<Proxy a\n", "ends with >"},
		{"apache", "\nServerName \"a\n", "line 2: a quotation does not end"},
		{"nginx", "server {\n", "line 1: server { has no }"},
		{"nginx", "server {\n listen 80\n}\n", "line 3: } is not expected here"},
		{"nginx", "upstream a", "has no ; or {"},
		{"nginx", "a 'b", "a quotation does not end"},
	}
	for _, c := range cases {
		if _, err := importOf(c.program, c.text); err == nil || !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.want) || fault.Of(err).Try == "" {
			t.Errorf("%s %.40q: %v, try %q; want %s", c.program, c.text, err, fault.Of(err).Try, c.want)
		}
	}
}

// Files that are small and would make something large are refused, and soon.
func TestImportIsBounded(t *testing.T) {
	var listens, hosts, names, members, passes strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&listens, "Listen %d\n", i+1)
		fmt.Fprintf(&hosts, "<VirtualHost *>\nServerName h%d\nProxyPass / http://10.0.0.1\n</VirtualHost>\n", i)
		fmt.Fprintf(&names, " n%d", i)
		fmt.Fprintf(&members, "server h%d;", i)
		fmt.Fprintf(&passes, "ProxyPass /%d http://10.0.0.1/%d\n", i, i)
	}
	for name, text := range map[string]string{
		"apache doors":   listens.String() + hosts.String(),
		"apache paths":   hosts.String() + passes.String(),
		"nginx members":  "upstream a {" + members.String()[:12000] + "} server { listen 81; server_name x; } server { listen 81; server_name" + names.String() + "; location / { proxy_pass http://a; } }",
		"nginx members2": "upstream a {" + members.String() + "} server { location / { proxy_pass http://a; } }",
	} {
		program, _, _ := strings.Cut(name, " ")
		if _, err := importOf(program, text); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The programs themselves understand what is imported here, and what is exported.
func TestProgramsUnderstand(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
		"-out", cert, "-days", "2", "-subj", "/CN=a").CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	pair, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(both, append(pair, secret...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range imports {
		t.Run(c.name, func(t *testing.T) {
			accepts(t, c.program, local(c.file, both))
		})
	}
	for _, c := range exports(cert, key) {
		for _, program := range []string{"nginx", "haproxy"} {
			t.Run(program+" for "+c.name, func(t *testing.T) {
				text, cannot, err := Export(program, c.setup)
				if err != nil {
					t.Fatal(err)
				}
				accepts(t, program, text)
				for _, u := range cannot {
					if !strings.Contains(text, "# "+program+" cannot: "+u.Text) {
						t.Errorf("no comment says that it cannot do %s", u.Text)
					}
				}
			})
		}
	}
}

// local puts files that are there in the place of those that a configuration names, and addresses in that of names.
func local(text, both string) string {
	for _, file := range []string{"/etc/ssl/my shop.pem", "/etc/ssl/shop.key", "/etc/ssl/blog.pem",
		"/etc/letsencrypt/live/shop.example/fullchain.pem", "/etc/letsencrypt/live/shop.example/privkey.pem"} {
		text = strings.ReplaceAll(text, file, both)
	}
	for i := range 9 {
		text = strings.ReplaceAll(text, fmt.Sprintf("pi%d.lan", i+1), fmt.Sprintf("192.168.1.%d", i+1))
	}
	text = strings.ReplaceAll(text, "include /etc/letsencrypt/options-ssl-nginx.conf;", "")
	return strings.ReplaceAll(text, "Include conf/more.conf", "")
}

var apacheModules = strings.Fields("mpm_event authz_core authz_host access_compat alias headers rewrite ssl socache_shmcb slotmem_shm proxy proxy_http " +
	"proxy_wstunnel proxy_balancer lbmethod_byrequests lbmethod_bytraffic lbmethod_bybusyness proxy_hcheck watchdog")

// accepts has a program check a configuration.
func accepts(t *testing.T, program, text string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	var cmd *exec.Cmd
	switch program {
	case "apache":
		head := "ServerRoot /usr/lib/apache2\nServerName localhost\nErrorLog " + dir + "/errors\nPidFile " + dir + "/pid\nDefaultRuntimeDir " + dir + "\n"
		for _, m := range apacheModules {
			if _, err := os.Stat("/usr/lib/apache2/modules/mod_" + m + ".so"); err == nil { // some are built in
				head += "LoadModule " + m + "_module modules/mod_" + m + ".so\n"
			}
		}
		if text = head + text; !strings.Contains(strings.ToLower(text), "\nlisten ") {
			text += "\nListen 127.0.0.1:8000\n"
		}
		cmd = exec.Command("apache2", "-t", "-f", file)
	case "nginx":
		if !strings.Contains(text, "\nevents ") {
			text = "events {}\nhttp {\n" + text + "\n}\n"
		}
		text = "error_log stderr;\npid " + dir + "/pid;\n" + text
		cmd = exec.Command("nginx", "-t", "-c", file)
	default:
		cmd = exec.Command("haproxy", "-c", "-f", file)
	}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if path, err := exec.LookPath("/usr/sbin/" + cmd.Args[0]); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\nin\n%s", cmd, err, out, text)
	}
}

// What nginx is given is what is read of it again, as far as it can be said there.
func TestExportedIsImported(t *testing.T) {
	for _, c := range exports("/a.crt", "/a.key") {
		if !c.again {
			continue
		}
		text, _, err := Export("nginx", c.setup)
		if err != nil {
			t.Fatal(err)
		}
		im, err := ImportNginx(text)
		if err != nil || len(im.Setups) != 1 {
			t.Fatalf("%s: %v, %d commands\n%s", c.name, err, len(im.Setups), text)
		}
		want := c.setup
		want.Common.Check = Check{}
		if got := im.Setups[0]; !reflect.DeepEqual(got.flags(), want.flags()) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got.Command(), want.Command())
		}
		for _, u := range im.Untaken {
			if u.Matters {
				t.Errorf("%s: line %d, %s: %s", c.name, u.Line, u.Text, u.Why)
			}
		}
	}
}

// Whatever a file holds: no panic, no control characters in a command, and each backend is one that serve understands.
func fuzzed(t *testing.T, im Imported, err error) {
	if err != nil {
		if f := fault.Of(err); f.Code != fault.Misused || f.Try == "" {
			t.Errorf("the error is %q, %s, try %q", f.Text, f.Code, f.Try)
		}
		return
	}
	for _, s := range im.Setups {
		for _, c := range s.Command() {
			if c < ' ' && c != '\n' || c == 0x7f || c >= 0x80 && c < 0xa0 {
				t.Errorf("a control character in %q", s.Command())
			}
		}
		for _, b := range s.Backends {
			again, err := ParseBackend(b.String())
			if err != nil {
				t.Fatal(err)
			}
			if again.Member.Weight <= 1 {
				again.Member.Weight = 0
			}
			if again != b {
				t.Errorf("%s is read as %+v, want %+v", b, again, b)
			}
		}
		if s.Common.Balance == "" || len(s.Backends) == 0 || len(s.Cert) != len(s.Key) || len(s.ListenTLS) > 0 && len(s.Cert) == 0 || len(s.Listen)+len(s.ListenTLS) == 0 {
			t.Errorf("no whole command: %s", s.Command())
		}
		if s.Common.Check.Path == "" { // nobody exports what he has not imported
			for _, program := range []string{"nginx", "haproxy"} {
				if _, _, err := Export(program, s); err != nil && !fault.Is(err, fault.Misused) {
					t.Error(err)
				}
			}
		}
	}
}

func FuzzImportApache(f *testing.F) {
	for _, c := range imports {
		if c.program == "apache" {
			f.Add(c.file)
		}
	}
	f.Add("<VirtualHost>\nProxyPass\nProxyPass /\nRedirect\nProxySet\n<Proxy>\nBalancerMember\n</Proxy>\n<Location>\nProxyPass a\n</Location>\n</VirtualHost>\nListen\n")
	f.Fuzz(func(t *testing.T, text string) {
		im, err := ImportApache(text)
		fuzzed(t, im, err)
	})
}

func FuzzImportNginx(f *testing.F) {
	for _, c := range imports {
		if c.program == "nginx" {
			f.Add(c.file)
		}
	}
	f.Add("server{return;location;listen;}upstream{server;}")
	f.Fuzz(func(t *testing.T, text string) {
		im, err := ImportNginx(text)
		fuzzed(t, im, err)
	})
}

// A shell reads the words of a command as they are meant.
func TestShellWord(t *testing.T) {
	for _, word := range []string{"a", "/etc/my shop's.pem", "$(id)", "a'b\"c`d\\", "*", "http://h,path=/a&b"} {
		out, err := exec.CommandContext(context.Background(), "sh", "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%s is read as %q, %v", shellWord(word), out, err)
		}
	}
}
