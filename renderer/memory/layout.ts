// Where pages, pointers and frames stand in the picture of memory, and the arrows between them.

import type { FrameBox, GuestPage, MemoryMap, Pointer } from './pointers.ts';

export const rowHeight = 32;
export const frameHeight = 44;
export const pageWidth = 116;
export const frameWidth = 128;
export const pointerWidth = 190;
const gapBetweenPages = 14;
const margin = 10;

export interface PlacedPage {
  readonly page: GuestPage;
  readonly y: number;
  readonly height: number;
}

export interface PlacedPointer {
  readonly pointer: Pointer;
  readonly x: number;
  readonly y: number;
}

export interface PlacedFrame {
  readonly frame: FrameBox;
  readonly x: number;
  readonly y: number;
}

export interface Arrow {
  readonly pointer: Pointer;
  readonly line: string;
  /** where its word stands */
  readonly x: number;
  readonly y: number;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pages: readonly PlacedPage[];
  readonly pointers: readonly PlacedPointer[];
  readonly frames: readonly PlacedFrame[];
  readonly arrows: readonly Arrow[];
}

const placePages = (pages: readonly GuestPage[]): PlacedPage[] => {
  let y = margin;
  return pages.map((page) => {
    const height = Math.max(1, page.pointers.length) * rowHeight;
    const placed = { page, y, height };
    y += height + gapBetweenPages;
    return placed;
  });
};

const placeFrames = (frames: readonly FrameBox[], x: number, height: number): PlacedFrame[] => {
  const room = Math.max(frameHeight + 8, (height - margin) / Math.max(1, frames.length));
  const each = Math.min(room, frameHeight * 2);
  return frames.map((frame, i) => ({ frame, x, y: margin + i * each + (each - frameHeight) / 2 }));
};

/** Arrows that end at the same frame end beside each other. */
const arrowsOf = (pointers: readonly PlacedPointer[], frames: readonly PlacedFrame[]): Arrow[] => {
  const ended = new Map<number, number>();
  return pointers.flatMap(({ pointer, x, y }) => {
    const target = frames.find((one) => one.frame.pfn === pointer.pfn);
    if (target === undefined) return [];
    const before = ended.get(pointer.pfn) ?? 0;
    ended.set(pointer.pfn, before + 1);
    const from = { x: x + pointerWidth, y: y + rowHeight / 2 };
    const to = { x: target.x - 7, y: target.y + 9 + Math.min(before * 6, frameHeight - 14) };
    const bend = (to.x - from.x) * 0.45;
    return [
      {
        pointer,
        line: `M${from.x},${from.y} C${from.x + bend},${from.y} ${to.x - bend},${to.y} ${to.x},${to.y}`,
        x: from.x + 10,
        y: from.y - 4,
      },
    ];
  });
};

/** Places everything in the given width. */
export const pictureOf = (map: MemoryMap, room: number): Picture => {
  const width = Math.max(room, pageWidth + pointerWidth + frameWidth + 90);
  const pages = placePages(map.pages);
  const last = pages.at(-1);
  const bottom = last === undefined ? 0 : last.y + last.height;
  const height = Math.max(bottom, map.frames.length * (frameHeight + 8) + margin) + margin;
  const x = pageWidth + 26;
  const pointers = pages.flatMap(({ page, y }) =>
    page.pointers.map((pointer, i) => ({ pointer, x, y: y + i * rowHeight })),
  );
  const frames = placeFrames(
    map.frames,
    width - frameWidth - margin,
    Math.max(bottom, height - margin),
  );
  return { width, height, pages, pointers, frames, arrows: arrowsOf(pointers, frames) };
};
