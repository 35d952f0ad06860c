// A client of Foxglove's WebSocket protocol (subprotocol foxglove.sdk.v1) that comes back when the server does.

const SUBPROTOCOL = "foxglove.sdk.v1";
const MESSAGE_DATA = 1, PLAYBACK_STATE = 5, PLAYBACK_REQUEST = 3;
const PLAYING = 0, PAUSED = 1, ENDED = 3;
const PATIENCE_MS = [250, 500, 1000, 2000];

export const playbackStates = { PLAYING, PAUSED, ENDED };

export class Feed {
  // topics: a callback for each topic, called with its decoded message and its time in ns.
  // on: connected(info), disconnected(), playback(state), whose request is the id of what it answers, if anything
  constructor(port, topics, on) {
    this.address = `ws://${location.hostname}:${port}`;
    this.topics = topics;
    this.on = on;
    this.attempts = 0;
    this.connect();
  }

  connect() {
    this.readers = new Map();
    this.socket = new WebSocket(this.address, [SUBPROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.text(JSON.parse(data)) : this.binary(data));
    this.socket.onclose = () => {
      this.on.disconnected();
      const wait = PATIENCE_MS[Math.min(this.attempts++, PATIENCE_MS.length - 1)];
      setTimeout(() => this.connect(), wait);
    };
  }

  text(message) {
    if (message.op === "serverInfo") {
      this.attempts = 0;
      this.on.connected(message);
    } else if (message.op === "advertise") {
      const subscriptions = [];
      for (const channel of message.channels) {
        if (this.topics[channel.topic]) {
          this.readers.set(channel.id, this.topics[channel.topic]);
          subscriptions.push({ id: channel.id, channelId: channel.id });
        }
      }
      if (subscriptions.length) this.socket.send(JSON.stringify({ op: "subscribe", subscriptions }));
    }
  }

  binary(data) {
    const view = new DataView(data);
    const opcode = view.getUint8(0);
    if (opcode === MESSAGE_DATA) {
      const read = this.readers.get(view.getUint32(1, true));
      const body = new TextDecoder().decode(new Uint8Array(data, 13));
      if (read) read(JSON.parse(body), view.getBigUint64(5, true));
    } else if (opcode === PLAYBACK_STATE) {
      const request = new TextDecoder().decode(new Uint8Array(data, 19, view.getUint32(15, true)));
      this.on.playback({ status: view.getUint8(1), time: view.getBigUint64(2, true), speed: view.getFloat32(10, true), request });
    }
  }

  // Asks to play or pause, at a speed, from a time in ns where one is given; returns the id of the request.
  control(play, speed, seek) {
    const request = `${Math.random()}`;
    const id = new TextEncoder().encode(request);
    const view = new DataView(new ArrayBuffer(19 + id.length));
    view.setUint8(0, PLAYBACK_REQUEST);
    view.setUint8(1, play ? PLAYING : PAUSED);
    view.setFloat32(2, speed, true);
    view.setUint8(6, seek === undefined ? 0 : 1);
    view.setBigUint64(7, seek ?? 0n, true);
    view.setUint32(15, id.length, true);
    new Uint8Array(view.buffer).set(id, 19);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(view.buffer);
    return request;
  }
}
