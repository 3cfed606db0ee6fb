"""
The edges that are compared: how each is started, in one process with one thread that works where it has the choice.

An edge has up to three doors: C{web} and C{sink} end TLS and forward the plain text, C{tunnel} forwards TLS untouched.
Everything else is the edge's default.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 30.0
"""Seconds that a program may take to start or to end."""

RUN_TWISTD = "from twisted.scripts.twistd import run; run()"
"""The command twistd of this very Python, wherever it was installed."""

WEB, SINK, TUNNEL = "localhost", "sink.localhost", "tunnel.localhost"


class CannotStart(Exception):
    """A program is not here, or did not come up."""


@dataclass(frozen=True)
class Door:
    """Where a client knocks: a port of 127.0.0.1, and the name to ask for."""

    port: int
    name: str


@dataclass(frozen=True)
class Running:
    """An edge that runs."""

    name: str
    processes: tuple["subprocess.Popen[bytes]", ...]
    doors: dict[str, Door]

    def pids(self) -> set[int]:
        """Its processes, and theirs."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            with contextlib.suppress(ValueError, OSError):
                stat = Path("/proc", str(int(entry)), "stat").read_text()
                parent = int(stat[stat.rindex(")") + 2 :].split()[1])
                children.setdefault(parent, []).append(int(entry))
        found: set[int] = set()
        new = {process.pid for process in self.processes}
        while new:
            found |= new
            new = {child for parent in new for child in children.get(parent, ())} - found
        return found

    def cpu_seconds(self) -> float:
        """What all of its threads have used."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    total += int((thread / "schedstat").read_text().split()[0])
        return total / 1e9

    def pss_kib(self) -> int:
        """Its memory, what it shares with others counted in part."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"^Pss: +([0-9]+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) if found else 0
        return total

    def stop(self) -> None:
        """End it."""
        end(self.processes)


def end(processes: "tuple[subprocess.Popen[bytes], ...] | list[subprocess.Popen[bytes]]") -> None:
    """End processes of ours, each with those that it started."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        # A twistd that still has connections goes when it is told twice; the others do not mind.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Lab:
    """A scratch directory, a certificate, and the servers behind the edges."""

    mib: int
    pure: bool = False
    directory: Path = field(init=False)
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    behind: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="atstls-edge-"))
        self.directory.chmod(0o755)  # nginx and hitch change their user
        self._certify()
        self._open_origins()

    def write(self, name: str, text: str) -> str:
        """A file in the directory; its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    @property
    def cert(self) -> str:
        """The certificate's path."""
        return str(self.directory / "cert.pem")

    @property
    def key(self) -> str:
        """The key's path."""
        return str(self.directory / "key.pem")

    def spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a program, in a process group of its own; what it says goes into a file."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with open(self.directory / f"said-{len(self.started)}", "wb") as said:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        process.said = self.directory / f"said-{len(self.started)}"  # type: ignore[attr-defined]
        self.started.append(process)
        return process

    def nginx(self, name: str, body: str) -> "subprocess.Popen[bytes]":
        """An nginx with one worker."""
        modules = "".join(
            f"load_module {path};\n" for path in Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so")
        )
        # More than there are descriptors would only make it complain.
        most = min(25000, descriptors())
        text = (
            f"{modules}worker_processes 1; daemon off; pid nginx-{name}.pid; error_log nginx-{name}.log;\n"
            f"events {{ worker_connections {most}; }}\n{body}\n"
        )
        path = self.write(f"nginx-{name}.conf", text)
        return self.spawn(program("nginx"), "-p", str(self.directory), "-c", path)

    def close(self) -> None:
        """End all, remove all."""
        end([process for process in self.started if process.poll() is None])
        shutil.rmtree(self.directory, ignore_errors=True)

    def _certify(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, WEB)])
        now = datetime.now(timezone.utc)
        names = [x509.DNSName(host) for host in (WEB, SINK, TUNNEL)]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=7))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.write("cert.pem", pem)
        self.write("key.pem", secret)
        self.write("both.pem", pem + secret)

    def _open_origins(self) -> None:
        program_file = str(ROOT / "benchmarks" / "origin.py")
        python = self.spawn(sys.executable, program_file, str(self.mib), self.cert, self.key)
        ports = self._first_line(python).split()
        self.behind = dict(zip(("web", "secure", "sink"), map(int, ports), strict=True))
        if self.pure or not found("nginx"):
            return
        self.write("www/1k", "k" * 1024)
        self.write("www/100k", "c" * 102400)
        block = bytes(range(256)) * 4096
        with open(self.directory / "www" / "big", "wb") as file:
            for _ in range(self.mib):
                file.write(block)
        web, secure = free_port(), free_port()
        temporary = "".join(
            f"{kind}_temp_path nginx-temp; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        where = f"root {self.directory}/www; keepalive_requests 1000000000; keepalive_timeout 600;"
        body = (
            f"http {{ access_log off; sendfile on; tcp_nodelay on; {temporary}\n"
            f"server {{ listen 127.0.0.1:{web} backlog=4096; {where} }}\n"
            f"server {{ listen 127.0.0.1:{secure} ssl backlog=4096; {where}\n"
            f"ssl_certificate {self.cert}; ssl_certificate_key {self.key}; }} }}"
        )
        wait_for(self.nginx("origin", body), web, secure)
        self.behind |= {"web": web, "secure": secure}

    def _first_line(self, process: "subprocess.Popen[bytes]") -> str:
        for _ in range(int(PATIENCE / 0.02)):
            text = said(process)
            if "\n" in text or process.poll() is not None:
                break
            time.sleep(0.02)
        if process.poll() is not None:
            raise CannotStart(text)
        return text.partition("\n")[0]


def descriptors() -> int:
    """How many descriptors a program that we start may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def found(name: str) -> str | None:
    """Where a program is; some are not on the path of ordinary users."""
    places = (os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin")
    return shutil.which(name, path=os.pathsep.join(places))


def program(name: str) -> str:
    """
    Where a program is.

    @raise CannotStart: nowhere.
    """
    path = found(name)
    if path is None:
        raise CannotStart("not installed")
    return path


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def said(process: "subprocess.Popen[bytes]") -> str:
    """What a program of ours has written."""
    return str(process.said.read_text(errors="replace"))  # type: ignore[attr-defined]


def wait_for(process: "subprocess.Popen[bytes]", *ports: int) -> None:
    """
    Wait until all C{ports} are open.

    @raise CannotStart: they do not open in time, or the program has ended.
    """
    deadline = time.monotonic() + PATIENCE
    for port in ports:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"it does not listen on {port}: {said(process)[-500:].strip()}")
            time.sleep(0.05)


def client_context() -> ssl.SSLContext:
    """Trusts anybody, offers HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


# Each of them.


def start_atstls(lab: Lab) -> Running:
    """All three doors are one port: the names tell them apart."""
    port = free_port()
    text = f"""
[listen edge]
interface = 127.0.0.1
port = {port}
alpn = http/1.1
forward_route = 127.0.0.1:{lab.behind["web"]}
[certificate edge]
ssl_cert_name = {lab.cert}
ssl_key_name = {lab.key}
[sni {SINK}]
forward_route = 127.0.0.1:{lab.behind["sink"]}
[sni {TUNNEL}]
tunnel_route = 127.0.0.1:{lab.behind["secure"]}
"""
    config = lab.write(f"tap-{port}.cfg", text)
    process = lab.spawn(sys.executable, "-c", RUN_TWISTD, "-n", "--pidfile=", "atstls", "--config", config)
    wait_for(process, port)
    return Running("atstls", (process,), one_port(port))


def one_port(port: int) -> dict[str, Door]:
    """Doors that only their names tell apart."""
    return {"web": Door(port, WEB), "sink": Door(port, SINK), "tunnel": Door(port, TUNNEL)}


def three_ports() -> dict[str, Door]:
    """Doors of their own."""
    return {"web": Door(free_port(), WEB), "sink": Door(free_port(), SINK), "tunnel": Door(free_port(), TUNNEL)}


def start_nginx(lab: Lab) -> Running:
    """Its stream module.  The buffer is what its manual says for speed; the default makes it slower."""
    doors = three_ports()
    secret = f"ssl_certificate {lab.cert}; ssl_certificate_key {lab.key};"
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{doors[door].port} {words} backlog=4096; {more} "
        f"proxy_pass 127.0.0.1:{lab.behind[to]}; }}"
        for door, to, words, more in (
            ("web", "web", "ssl", secret),
            ("sink", "sink", "ssl", secret),
            ("tunnel", "secure", "", "ssl_preread on;"),
        )
    )
    session = "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:edge:10m;"
    process = lab.nginx(f"edge-{doors['web'].port}", f"stream {{ {session} proxy_buffer_size 64k;\n{servers} }}")
    wait_for(process, *(door.port for door in doors.values()))
    return Running("nginx", (process,), doors)


def start_haproxy(lab: Lab) -> Running:
    """In TCP mode, one thread; the tunnel may splice."""
    doors = three_ports()
    most = min(12000, (descriptors() - 700) // 2)
    secret = f"ssl crt {lab.directory}/both.pem"
    lines = [
        "global\n nbthread 1\n ssl-default-bind-options ssl-min-ver TLSv1.2",
        f" maxconn {most}\n maxpipes 64",
        f"defaults\n mode tcp\n maxconn {most}",
        *(f" timeout {side} 600s" for side in ("connect", "client", "server")),
    ]
    for door, to, words in (("web", "web", secret), ("sink", "sink", secret), ("tunnel", "secure", "")):
        lines += [
            f"frontend {door}\n bind 127.0.0.1:{doors[door].port} backlog 4096 {words}\n default_backend to_{door}",
            *(
                []
                if words
                else [" tcp-request inspect-delay 5s", " tcp-request content accept if { req_ssl_hello_type 1 }"]
            ),
            f"backend to_{door}\n server only 127.0.0.1:{lab.behind[to]}",
            *([] if words else [" option splice-auto"]),
        ]
    text = "\n".join(lines) + "\n"
    process = lab.spawn(program("haproxy"), "-db", "-f", lab.write(f"haproxy-{doors['web'].port}.cfg", text))
    wait_for(process, *(door.port for door in doors.values()))
    return Running("haproxy", (process,), doors)


def start_hitch(lab: Lab) -> Running:
    """It knows one backend only, so there are two of it; and no tunnel."""
    doors = {"web": Door(free_port(), WEB), "sink": Door(free_port(), SINK)}
    user = 'user = "nobody"\n' if os.geteuid() == 0 else ""
    processes = []
    for name, door in doors.items():
        text = (
            f'frontend = "[127.0.0.1]:{door.port}"\nbackend = "[127.0.0.1]:{lab.behind[name]}"\n'
            f'pem-file = "{lab.directory}/both.pem"\nworkers = 1\nbacklog = 4096\ndaemon = off\n{user}'
        )
        processes.append(lab.spawn(program("hitch"), f"--config={lab.write(f'hitch-{door.port}.conf', text)}"))
        wait_for(processes[-1], door.port)
    return Running("hitch", tuple(processes), doors)


def start_trafficserver(lab: Lab) -> Running:
    """One thread for the network, no cache, no log; routes by name, as ours."""
    port = free_port()
    top = lab.directory / f"trafficserver-{port}"
    path = program("traffic_server")
    layout = subprocess.run([program("traffic_layout")], capture_output=True, text=True, check=False).stdout
    places = dict(re.findall(r"^([A-Z]+): (.*)$", layout, re.MULTILINE))
    shutil.copytree(places["SYSCONFDIR"], top / "etc")
    for name in ("log", "run", "cache"):
        (top / name).mkdir()
    records = {
        "http.server_ports": ("STRING", f"{port}:ssl"),
        "http.connect_ports": ("STRING", " ".join(map(str, lab.behind.values()))),
        "http.cache.http": ("INT", 0),
        "log.logging_enabled": ("INT", 0),
        "exec_thread.autoconfig": ("INT", 0),
        "exec_thread.limit": ("INT", 1),
        "accept_threads": ("INT", 0),
        "admin.user_id": ("STRING", "#-1"),
        "ssl.server.cert.path": ("STRING", lab.directory),
        "ssl.server.private_key.path": ("STRING", lab.directory),
        "net.connections_throttle": ("INT", min(24000, descriptors() - 500)),
    }
    (top / "etc" / "records.config").write_text(
        "".join(f"CONFIG proxy.config.{name} {kind} {value}\n" for name, (kind, value) in records.items())
    )
    (top / "etc" / "ssl_multicert.config").write_text("dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n")
    routes = ((WEB, "forward", "web"), (SINK, "forward", "sink"), (TUNNEL, "tunnel", "secure"))
    (top / "etc" / "sni.yaml").write_text(
        "sni:\n"
        + "".join(f"  - fqdn: {name}\n    {how}_route: 127.0.0.1:{lab.behind[to]}\n" for name, how, to in routes)
    )
    (top / "etc" / "storage.config").write_text("")
    root = {
        "prefix": top,
        "exec_prefix": places["PREFIX"],
        "bindir": places["BINDIR"],
        "sbindir": places["BINDIR"],
        "libexecdir": places["PLUGINDIR"],
        "libdir": places["LIBDIR"],
        "includedir": places["INCLUDEDIR"],
        "sysconfdir": top / "etc",
        "datadir": top,
        "localstatedir": top,
        "runtimedir": top / "run",
        "logdir": top / "log",
        "cachedir": top / "cache",
    }
    (top / "runroot.yaml").write_text("".join(f"{name}: {value}\n" for name, value in root.items()))
    process = lab.spawn(path, f"--run-root={top}/runroot.yaml")
    wait_for(process, port)
    return Running("trafficserver", (process,), one_port(port))


def _start_forwarder(lab: Lab, kind: str) -> Running:
    doors = {"web": Door(free_port(), WEB), "sink": Door(free_port(), SINK)}
    routes = [f"{door.port}:{lab.behind[name]}" for name, door in doors.items()]
    process = lab.spawn(sys.executable, str(ROOT / "benchmarks" / "forwarders.py"), kind, lab.cert, lab.key, *routes)
    wait_for(process, *(door.port for door in doors.values()))
    return Running(kind, (process,), doors)


def start_twisted(lab: Lab) -> Running:
    """Twisted's own TLS, with its own port forwarder."""
    return _start_forwarder(lab, "twisted")


def start_asyncio(lab: Lab) -> Running:
    """Python's ssl under asyncio, on uvloop where it is installed."""
    return _start_forwarder(lab, "asyncio")


START: dict[str, Callable[[Lab], Running]] = {
    "atstls": start_atstls,
    "nginx": start_nginx,
    "haproxy": start_haproxy,
    "hitch": start_hitch,
    "trafficserver": start_trafficserver,
    "twisted": start_twisted,
    "asyncio": start_asyncio,
}

PEERS = tuple(name for name in START if name != "atstls")


def version(name: str) -> str:
    """The version of a peer, C{""} if it does not tell."""
    if name in ("twisted", "asyncio"):
        return ""  # Python's and Twisted's are told anyway
    path = found({"trafficserver": "traffic_server"}.get(name, name))
    if path is None:
        return ""
    word = {"haproxy": "-v", "nginx": "-v", "hitch": "--version", "trafficserver": "-V"}[name]
    done = subprocess.run([path, word], capture_output=True, text=True, check=False)
    numbers = re.search(r"[0-9]+\.[0-9]+\.[0-9]+", done.stdout + done.stderr)
    return numbers[0] if numbers else ""
