// Two matrix-js-sdk clients with its Rust crypto, and later a third, in one encrypted room. The whole story runs here; the
// program that started it is told by {"restart": n} when to kill the server. The library is used as it comes.
// Arguments: base URL, suffix of the user names, messages, kills.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const packages = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(packages, "package.json"));
const sdk = await import(pathToFileURL(require.resolve("matrix-js-sdk")).href);
const load = async (path) => import(pathToFileURL(join(packages, "matrix-js-sdk/lib", path)).href);
const { logger } = await load("logger.js");
const { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } = await load("crypto-api/index.js");
logger.setLevel(logger.levels.ERROR, false);
for (const name of ["log", "info", "warn", "debug", "trace"]) console[name] = console.error;

const [url, suffix, messagesText, killsText] = process.argv.slice(2);
const [messages, kills] = [Number(messagesText), Number(killsText)];
const PASSWORD = "correct horse battery staple";
const WAIT_MS_MAX = 120_000;
const PAUSE_MS = 100;

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, holds) {
    const end = Date.now() + WAIT_MS_MAX;
    for (;;) {
        const found = await holds();
        if (found) return found;
        if (Date.now() > end) throw new Error(`not in time: ${what}`);
        await pause(PAUSE_MS);
    }
}

// What a person would do when the server is away: try again.
async function persist(act) {
    for (let tries = 0; ; tries += 1) {
        try {
            return await act();
        } catch (error) {
            if (error?.httpStatus >= 400 && error.httpStatus < 500) throw error;
            if (tries > 300) throw error;
            await pause(PAUSE_MS);
        }
    }
}

class User {
    constructor(name) {
        this.name = `${name}${suffix}`;
        this.storageKeys = new Map();
    }

    async register() {
        const anonymous = sdk.createClient({ baseUrl: url });
        const body = { username: this.name, password: PASSWORD, auth: { type: "m.login.dummy" } };
        this.begin(await anonymous.registerRequest(body));
    }

    async login() {
        const anonymous = sdk.createClient({ baseUrl: url });
        const identifier = { type: "m.id.user", user: this.name };
        this.begin(await anonymous.loginRequest({ type: "m.login.password", identifier, password: PASSWORD }));
    }

    begin(session) {
        this.client = sdk.createClient({
            baseUrl: url,
            accessToken: session.access_token,
            userId: session.user_id,
            deviceId: session.device_id,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => {
                    const id = Object.keys(keys).find((candidate) => this.storageKeys.has(candidate));
                    return id ? [id, this.storageKeys.get(id)] : null;
                },
                cacheSecretStorageKey: (id, _, key) => this.storageKeys.set(id, key),
            },
        });
    }

    get id() {
        return this.client.getUserId();
    }

    get crypto() {
        return this.client.getCrypto();
    }

    async start() {
        await this.client.initRustCrypto({ useIndexedDB: false });
        const ready = new Promise((resolve) => {
            this.client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && resolve());
        });
        await this.client.startClient({ initialSyncLimit: 20, pendingEventOrdering: sdk.PendingEventOrdering.Detached });
        await ready;
    }

    async crossSign() {
        const identifier = { type: "m.id.user", user: this.name };
        await this.crypto.bootstrapCrossSigning({
            authUploadDeviceSigningKeys: (upload) =>
                upload({ type: "m.login.password", identifier, password: PASSWORD }),
        });
    }

    async backUp() {
        await this.crypto.bootstrapSecretStorage({
            createSecretStorageKey: () => this.crypto.createRecoveryKeyFromPassphrase("a passphrase"),
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
    }

    async send(room, body) {
        const txn = `${this.name}.${body}`;
        const content = { msgtype: "m.text", body };
        try {
            await this.client.sendEvent(room, "m.room.message", content, txn);
        } catch {
            await persist(async () => {
                const found = this.client.getRoom(room);
                const event = found.getPendingEvents().find((candidate) => candidate.getTxnId() === txn);
                if (event?.status === sdk.EventStatus.NOT_SENT) await this.client.resendEvent(event, found);
                else if (event && event.status !== sdk.EventStatus.SENT) throw new Error(`status ${event.status}`);
            });
        }
    }

    // Pages back to the beginning and answers the bodies of all messages, and how many could not be decrypted.
    async history(room) {
        const timeline = this.client.getRoom(room).getLiveTimeline();
        while (await persist(() => this.client.paginateEventTimeline(timeline, { backwards: true, limit: 100 })));
        const encrypted = timeline.getEvents().filter((event) => event.isEncrypted());
        for (const event of encrypted) await this.client.decryptEventIfNeeded(event);
        const failed = encrypted.filter((event) => event.isDecryptionFailure());
        const bodies = encrypted.map((event) => event.getContent().body);
        return { bodies, failed: failed.length };
    }
}

// Both compare emoji, as people do, and end up trusting each other's identity.
async function verify(alice, bob, room) {
    const received = new Promise((resolve) => bob.client.once(CryptoEvent.VerificationRequestReceived, resolve));
    const asked = await alice.crypto.requestVerificationDM(bob.id, room);
    const request = await received;
    await request.accept();
    await until("the request is ready", () => asked.phase === VerificationPhase.Ready);
    const confirm = (verifier) => verifier.on(VerifierEvent.ShowSas, (sas) => sas.confirm());
    const theirs = new Promise((resolve) => {
        request.on(VerificationRequestEvent.Change, () => request.verifier && resolve(request.verifier));
    });
    const ours = await asked.startVerification("m.sas.v1");
    confirm(ours);
    const other = await theirs;
    confirm(other);
    await Promise.all([ours.verify(), other.verify()]);
    for (const [user, peer] of [[alice, bob], [bob, alice]]) {
        await until(`${user.name} trusts ${peer.name}`, async () => {
            const status = await user.crypto.getUserVerificationStatus(peer.id);
            return status.isCrossSigningVerified();
        });
        await until(`${user.name} trusts the device of ${peer.name}`, async () => {
            const status = await user.crypto.getDeviceVerificationStatus(peer.id, peer.client.getDeviceId());
            return status?.crossSigningVerified;
        });
    }
}

function check(holds, what) {
    if (!holds) throw new Error(what);
    say({ ok: what });
}

async function everything(user, room, wanted, what) {
    const found = await until(`${what}: all messages are there`, async () => {
        const history = await user.history(room);
        return history.bodies.length >= wanted.length && history.failed === 0 ? history : null;
    }).catch(() => user.history(room));
    const got = new Map();
    for (const body of found.bodies) got.set(body, (got.get(body) ?? 0) + 1);
    const missing = wanted.filter((body) => got.get(body) !== 1);
    check(found.failed === 0, `${what}: ${found.failed} of ${found.bodies.length} undecryptable`);
    check(missing.length === 0, `${what}: each of ${wanted.length} messages once (${missing.slice(0, 5)})`);
}

const [alice, bob] = [new User("alice"), new User("bob")];
for (const user of [alice, bob]) {
    await user.register();
    await user.start();
    await user.crossSign();
}
await alice.backUp();
say({ ok: "cross-signing, secret storage and key backup are set up" });

const encryption = { algorithm: "m.megolm.v1.aes-sha2", rotation_period_msgs: 10 };
const { room_id: room } = await alice.client.createRoom({
    preset: "trusted_private_chat",
    invite: [bob.id],
    initial_state: [{ type: "m.room.encryption", state_key: "", content: encryption }],
});
await until("bob is invited", () => bob.client.getRoom(room));
await bob.client.joinRoom(room);
await until("alice sees bob", () => alice.client.getRoom(room)?.getJoinedMembers().length === 2);
await until("the rooms are encrypted", async () => (await alice.crypto.isEncryptionEnabledInRoom(room)) && (await bob.crypto.isEncryptionEnabledInRoom(room)));
await verify(alice, bob, room);
say({ ok: "alice and bob have verified each other" });

const wanted = [];
const stepLength = Math.ceil(messages / (kills + 1));
for (let number = 0; number < messages; number += 1) {
    if (number > 0 && number % stepLength === 0) say({ restart: number / stepLength });
    const sender = number % 2 === 0 ? alice : bob;
    const body = `message ${number}`;
    await sender.send(room, body);
    wanted.push(body);
}
say({ ok: `${messages} messages were sent over ${kills} kills` });
await everything(alice, room, wanted, "alice");
await everything(bob, room, wanted, "bob");

await until("all keys of alice are backed up", async () => {
    const keys = JSON.parse(await alice.crypto.exportRoomKeysAsJson());
    // The library remembers what it was told of the backup at first; the server knows how many keys are there.
    const path = "/room_keys/version";
    const backup = await persist(() => alice.client.http.authedRequest("GET", path, undefined, undefined, { prefix: "/_matrix/client/v3" }));
    return backup.count >= keys.length;
});
const again = new User("alice");
again.storageKeys = alice.storageKeys;
await again.login();
await again.start();
await until("the new device knows its user's identity", () => again.crypto.userHasCrossSigningKeys(again.id, true));
await again.crossSign();
await again.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
const restored = await again.crypto.restoreKeyBackup();
say({ ok: `the new device restored ${restored.imported} keys` });
check(await again.crypto.isCrossSigningReady(), "the new device is cross-signed");
await everything(again, room, wanted, "the new device");
for (const user of [alice, bob, again]) user.client.stopClient();
say({ done: true });
process.exit(0);
