"""What somebody new does after reading the README, with times (scripts/newcomer.sh makes the machine for it): the quickstart, JupyterLab, a cell."""

import json
import platform
import subprocess
import sys
import time
import urllib.request
import uuid

import websocket

REPOSITORY = "/root/InterpreterKernel"
PORT, TOKEN = 8899, "newcomer"
MINUTES = 5


def ask(path, content=None):
    headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", content and json.dumps(content).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def run_cell(kernel, code):
    """As JupyterLab's page does: over the server's WebSocket."""
    way = websocket.create_connection(f"ws://127.0.0.1:{PORT}/api/kernels/{kernel}/channels?token={TOKEN}", timeout=60)
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": uuid.uuid4().hex, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    way.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}))
    text = ""
    while True:
        message = json.loads(way.recv())
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            text += message["content"]["text"]
        if message["msg_type"] == "execute_reply":
            assert message["content"]["status"] == "ok", message["content"]
            way.close()
            return text


def main():
    begin = time.monotonic()

    def step(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    subprocess.run(["scripts/quickstart.sh"], cwd=REPOSITORY, check=True)
    step("scripts/quickstart.sh is done")
    lab = ["jupyter", "lab", "--allow-root", "--no-browser", f"--port={PORT}", f"--IdentityProvider.token={TOKEN}", "notebooks/quickstart.ipynb"]
    with open("/root/lab.log", "w") as log:
        server = subprocess.Popen(lab, cwd=REPOSITORY, stdout=log, stderr=log)
    while True:
        try:
            specs = ask("/api/kernelspecs")["kernelspecs"]
            break
        except OSError:
            assert server.poll() is None, open("/root/lab.log").read()
            time.sleep(0.2)
    assert specs["sandbox-python"]["spec"]["display_name"] == "Python (sandbox)", specs
    step("JupyterLab serves its page, with the kernel among its tiles")
    kernel = ask("/api/kernels", {"name": "sandbox-python"})["id"]
    inside = run_cell(kernel, "import platform; print(platform.node())").strip()
    assert inside and inside != platform.node(), inside
    step(f"a cell has run, in {inside}")
    seconds = time.monotonic() - begin
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{PORT}/api/shutdown?token={TOKEN}", b"", method="POST"), timeout=60).close()
    server.wait(30)
    print(f"{'PASS' if seconds < MINUTES * 60 else 'FAIL'}: README to a cell in JupyterLab in {seconds:.0f} s, of {MINUTES * 60}")
    return 0 if seconds < MINUTES * 60 else 1


if __name__ == "__main__":
    sys.exit(main())
