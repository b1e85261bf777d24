// A matrix-js-sdk user, driven line by line: one JSON command per line on stdin, one JSON answer per line on stdout.
// What the library tells by itself (timeline events, sync states, memberships) is passed on as {"note": …} lines.
// The library is used as it comes: everything here is its public interface.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

// The packages live in a cache folder outside the checkout, so that they are named by path and not found by walking up.
const packages = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(packages, "package.json"));
const sdk = await import(pathToFileURL(require.resolve("matrix-js-sdk")).href);
const { logger } = await import(pathToFileURL(join(packages, "matrix-js-sdk/lib/logger.js")).href);
logger.setLevel(logger.levels.ERROR, false);
for (const name of ["log", "info", "warn", "debug", "trace"]) console[name] = console.error;

let client;
let failed = new Map(); // txnId → MatrixEvent whose sending failed

function say(line) {
    process.stdout.write(JSON.stringify(line) + "\n");
}

// Rooms whose timeline was limited: events wait there until what was left out has been paged back, as when a person scrolls up.
const gaps = new Set();
const shown = new Map(); // roomId → ids of the events that were passed on

function pass(roomId, event) {
    if (!shown.has(roomId)) shown.set(roomId, new Set());
    shown.get(roomId).add(event.event_id);
    say({ note: "timeline", room: roomId, event });
}

async function fill(roomId) {
    const timeline = client.getRoom(roomId).getLiveTimeline();
    const known = shown.get(roomId) ?? new Set();
    const reaches = () => timeline.getEvents().some((event) => known.has(event.getId()));
    while (!reaches() && (await client.paginateEventTimeline(timeline, { backwards: true, limit: 100 })));
    const events = timeline.getEvents();
    const last = events.findLastIndex((event) => known.has(event.getId()));
    gaps.delete(roomId);
    for (const event of events.slice(last + 1)) pass(roomId, event.event);
}

function follow() {
    client.on(sdk.RoomEvent.TimelineReset, (room) => {
        if (shown.has(room.roomId)) gaps.add(room.roomId);
    });
    client.on(sdk.RoomEvent.Timeline, (event, room, toStart, removed, data) => {
        if (toStart || removed || !data?.liveEvent || gaps.has(room.roomId)) return;
        pass(room.roomId, event.event);
    });
    client.on(sdk.RoomEvent.MyMembership, (room, membership) => {
        say({ note: "membership", room: room.roomId, membership });
    });
    client.on(sdk.ClientEvent.Sync, (state) => {
        if (state !== "SYNCING") return;
        for (const roomId of gaps) {
            fill(roomId).catch((error) => say({ note: "failure", error: `filling a gap: ${error}` }));
        }
    });
}

const commands = {
    async register({ url, user, password }) {
        client = sdk.createClient({ baseUrl: url });
        const answer = await client.registerRequest({
            username: user,
            password,
            auth: { type: "m.login.dummy" },
        });
        return { user_id: answer.user_id, device_id: answer.device_id };
    },

    async login({ url, user, password, device }) {
        const anonymous = sdk.createClient({ baseUrl: url });
        const answer = await anonymous.loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user },
            password,
            device_id: device,
        });
        client = sdk.createClient({
            baseUrl: url,
            accessToken: answer.access_token,
            userId: answer.user_id,
            deviceId: answer.device_id,
        });
        return { user_id: answer.user_id, device_id: answer.device_id, access_token: answer.access_token };
    },

    async start({ limit }) {
        follow();
        const ready = new Promise((resolve) => {
            client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && resolve());
        });
        await client.startClient({
            initialSyncLimit: limit,
            lazyLoadMembers: true,
            pendingEventOrdering: sdk.PendingEventOrdering.Detached,
        });
        await ready;
        return {};
    },

    async whoami() {
        return await client.whoami();
    },

    async create({ options }) {
        return await client.createRoom(options);
    },

    async invite({ room, user }) {
        await client.invite(room, user);
        return {};
    },

    async join({ room }) {
        await client.joinRoom(room);
        return {};
    },

    // Sends by the library's local echo, as an application does; a failed sending is kept for `resend`.
    async send({ room, type, content, txn }) {
        try {
            const answer = await client.sendEvent(room, type, content, txn);
            return { event_id: answer.event_id };
        } catch (error) {
            const pending = client.getRoom(room)?.getPendingEvents() ?? [];
            const event = pending.find((candidate) => candidate.getTxnId() === txn);
            if (!event) throw error;
            failed.set(txn, event);
            return { failed: String(error) };
        }
    },

    async resend({ room, txn }) {
        const event = failed.get(txn);
        if (event.status !== sdk.EventStatus.NOT_SENT) return { event_id: event.getId() };
        try {
            const answer = await client.resendEvent(event, client.getRoom(room));
            return { event_id: answer.event_id };
        } catch (error) {
            return { failed: String(error) };
        }
    },

    async upload({ name, type, base64 }) {
        const file = new File([Buffer.from(base64, "base64")], name, { type });
        const answer = await client.uploadContent(file, { name, type });
        return { uri: answer.content_uri };
    },

    // The library says where a file is and leaves the fetching to the application, with the user's token.
    async download({ uri, size }) {
        const address = client.mxcUrlToHttp(uri, size?.width, size?.height, size?.method, false, true, true);
        const url = new URL(address);
        if (size?.animated) url.searchParams.set("animated", "true");
        const answer = await fetch(url, { headers: { authorization: `Bearer ${client.getAccessToken()}` } });
        if (!answer.ok) throw new Error(`status ${answer.status} for ${url}: ${await answer.text()}`);
        return {
            type: answer.headers.get("content-type"),
            disposition: answer.headers.get("content-disposition"),
            base64: Buffer.from(await answer.arrayBuffer()).toString("base64"),
        };
    },

    async redact({ room, event, reason }) {
        return await client.redactEvent(room, event, undefined, { reason });
    },

    // The body that the library shows for an event: the edited one after an edit.
    async shown({ room, event }) {
        const found = client.getRoom(room)?.findEventById(event);
        if (!found) return { found: false };
        const reactions = client
            .getRoom(room)
            .relations.getChildEventsForEvent(event, "m.annotation", "m.reaction")
            ?.getSortedAnnotationsByKey();
        return {
            found: true,
            body: found.getContent().body ?? null,
            redacted: found.isRedacted(),
            reactions: Object.fromEntries((reactions ?? []).map(([key, events]) => [key, events.size])),
        };
    },

    async read({ room, event }) {
        const found = client.getRoom(room).findEventById(event);
        await client.sendReadReceipt(found);
        await client.setRoomReadMarkers(room, event);
        return {};
    },

    async unread({ room }) {
        const found = client.getRoom(room);
        return {
            total: found.getUnreadNotificationCount(sdk.NotificationCountType.Total),
            highlight: found.getUnreadNotificationCount(sdk.NotificationCountType.Highlight),
        };
    },

    async members({ room }) {
        const found = client.getRoom(room);
        await found.loadMembersIfNeeded();
        return { joined: found.getJoinedMembers().map((member) => member.userId).sort(), name: found.name };
    },

    async direct() {
        return client.getAccountData("m.direct")?.getContent() ?? {};
    },

    async set_direct({ content }) {
        await client.setAccountData("m.direct", content);
        return {};
    },

    // Pages back over the whole room by the library's own timeline; every event in the order of the room.
    async history({ room, page }) {
        const found = client.getRoom(room);
        const timeline = found.getLiveTimeline();
        for (let pages = 0; pages < 1000; pages += 1) {
            const more = await client.paginateEventTimeline(timeline, { backwards: true, limit: page });
            if (!more) return { events: timeline.getEvents().map((event) => event.event), pages };
        }
        throw new Error("paging back did not end after 1000 pages");
    },

    async logout() {
        client.stopClient();
        await client.logout(true);
        return {};
    },
};

createInterface({ input: process.stdin })
    .on("line", async (line) => {
        const { id, command, ...rest } = JSON.parse(line);
        try {
            say({ id, answer: await commands[command](rest) });
        } catch (error) {
            say({ id, error: String(error?.message ?? error), errcode: error?.errcode, status: error?.httpStatus });
        }
    })
    .on("close", () => process.exit(0));
