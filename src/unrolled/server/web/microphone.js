// What the microphone hears as a WAV file of 16 bits: the samples themselves, so that no browser's own format matters.
export class Microphone {
  on = false;

  async start() {
    this.pieces = [];
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    this.context = new AudioContext();
    try {
      await this.context.audioWorklet.addModule("/static/recorder.js");
    } catch (error) {
      this.stop();
      throw error;
    }
    this.node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    this.node.port.onmessage = (event) => this.pieces.push(event.data);
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    this.on = true;
  }

  stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.context.close();
    this.on = false;
  }

  // What has been heard so far; null where that is nothing.
  wav() {
    const length = this.pieces.reduce((sum, piece) => sum + piece.length, 0), rate = this.context.sampleRate;
    if (!length) return null;
    const view = new DataView(new ArrayBuffer(44 + 2 * length));
    const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, 36 + 2 * length, true);
    text(8, "WAVEfmt ");
    [[16, 16], [24, rate], [28, 2 * rate], [40, 2 * length]].forEach(([at, value]) => view.setUint32(at, value, true));
    [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, value]) => view.setUint16(at, value, true));
    text(36, "data");
    let at = 44;
    for (const piece of this.pieces) {
      for (const value of piece) {
        view.setInt16(at, 32767 * Math.max(-1, Math.min(1, value)), true);
        at += 2;
      }
    }
    return new Blob([view], { type: "audio/wav" });
  }
}
