// 3x3 convolutions of stride 1 and padding 1 in fp32 by Winograd's F(4x4, 3x3): 36 products where the plain sum takes
// 144. Images are (N, H, W, C), C fastest; transformed weights (36, C, K). C and K are multiples of 16.
// Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308).
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t LANES = 16, SIDE = 6, STEP = 4, POINTS = SIDE * SIDE;
typedef float Vec __attribute__((vector_size(64), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

struct Input {  // B^T
  static constexpr int IN = 6, OUT = 6;
  static inline __attribute__((always_inline)) void apply(const Vec* d, int64_t s, Vec* o, int64_t t) {
    Vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    Vec a = d4 - 4.f * d2, b = d3 - 4.f * d1, c = d4 - d2, e = 2.f * (d3 - d1);
    o[0] = 4.f * d0 - 5.f * d2 + d4;
    o[t] = a + b;
    o[2 * t] = a - b;
    o[3 * t] = c + e;
    o[4 * t] = c - e;
    o[5 * t] = 4.f * d1 - 5.f * d3 + d5;
  }
};

struct Output {  // A^T
  static constexpr int IN = 6, OUT = 4;
  static inline __attribute__((always_inline)) void apply(const Vec* m, int64_t s, Vec* o, int64_t t) {
    Vec m1 = m[s], m2 = m[2 * s], m3 = m[3 * s], m4 = m[4 * s];
    Vec a = m1 + m2, b = m1 - m2, c = m3 + m4, e = m3 - m4;
    o[0] = m[0] + a + c;
    o[t] = b + 2.f * e;
    o[2 * t] = a + 4.f * c;
    o[3 * t] = b + 8.f * e + m[5 * s];
  }
};

struct Gradient {  // A
  static constexpr int IN = 4, OUT = 6;
  static inline __attribute__((always_inline)) void apply(const Vec* y, int64_t s, Vec* o, int64_t t) {
    Vec y0 = y[0], y1 = y[s], y2 = y[2 * s], y3 = y[3 * s];
    Vec a = y0 + y2, b = y1 + y3, c = y0 + 4.f * y2, e = 2.f * y1 + 8.f * y3;
    o[0] = y0;
    o[t] = a + b;
    o[2 * t] = a - b;
    o[3 * t] = c + e;
    o[4 * t] = c - e;
    o[5 * t] = y3;
  }
};

template <class Map>
inline __attribute__((always_inline)) void both_ways(const Vec* in, Vec* out) {  // IN x IN to OUT x OUT
  Vec half[Map::OUT * Map::IN];
  for (int j = 0; j < Map::IN; j++) Map::apply(in + j, Map::IN, half + j, Map::IN);
  for (int i = 0; i < Map::OUT; i++) Map::apply(half + i * Map::IN, 1, out + i * Map::OUT, 1);
}

struct Grid {
  int64_t num_images, height, width, tiles_y, tiles_x;
  Grid(int64_t n, int64_t h, int64_t w)
      : num_images(n), height(h), width(w), tiles_y((h + STEP - 1) / STEP), tiles_x((w + STEP - 1) / STEP) {}
  int64_t num_tiles() const { return num_images * tiles_y * tiles_x; }
};

// Reads the patch of each tile, from `margin` pixels before it, and writes what Map makes of it to (36, tiles, C).
template <class Map, int MARGIN>
void scatter(const float* images, const Grid& g, int64_t channels, int64_t first, int64_t count, float* out,
             int64_t stride) {
  static const float zeros[LANES] = {0};
  for (int64_t t = 0; t < count; t++) {
    int64_t tile = first + t, image = tile / (g.tiles_y * g.tiles_x), in_image = tile % (g.tiles_y * g.tiles_x);
    int64_t y0 = in_image / g.tiles_x * STEP - MARGIN, x0 = in_image % g.tiles_x * STEP - MARGIN;
    const float* base = images + image * g.height * g.width * channels;
    for (int64_t c = 0; c < channels; c += LANES) {
      Vec patch[Map::IN * Map::IN], mapped[POINTS];
      for (int64_t i = 0; i < Map::IN; i++)
        for (int64_t j = 0; j < Map::IN; j++) {
          int64_t y = y0 + i, x = x0 + j;
          bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
          patch[i * Map::IN + j] = load(inside ? base + (y * g.width + x) * channels + c : zeros);
        }
      both_ways<Map>(patch, mapped);
      for (int64_t p = 0; p < POINTS; p++) store(out + p * stride + t * channels + c, mapped[p]);
    }
  }
}

// The way back: (36, tiles, K) to the 4 x 4 pixels of each tile.
void gather(const float* in, int64_t stride, const Grid& g, int64_t channels, int64_t first, int64_t count,
            float* images) {
  for (int64_t t = 0; t < count; t++) {
    int64_t tile = first + t, image = tile / (g.tiles_y * g.tiles_x), in_image = tile % (g.tiles_y * g.tiles_x);
    int64_t y0 = in_image / g.tiles_x * STEP, x0 = in_image % g.tiles_x * STEP;
    int64_t rows = std::min(STEP, g.height - y0), columns = std::min(STEP, g.width - x0);
    float* base = images + ((image * g.height + y0) * g.width + x0) * channels;
    for (int64_t c = 0; c < channels; c += LANES) {
      Vec points[POINTS], pixels[STEP * STEP];
      for (int64_t p = 0; p < POINTS; p++) points[p] = load(in + p * stride + t * channels + c);
      both_ways<Output>(points, pixels);
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
          store(base + (i * g.width + j) * channels + c, pixels[i * STEP + j]);
    }
  }
}

// out[r][j] (+)= sum_p a[p * step_p + r * step_r] * b[p * columns + j] for ROWS rows and WIDE vectors of columns.
template <int ROWS, int WIDE>
inline __attribute__((always_inline)) void block(const float* a, int64_t step_r, int64_t step_p, const float* b,
                                                 int64_t columns, int64_t depth, float* out, bool add) {
  Vec sum[ROWS][WIDE];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) sum[r][v] = add ? load(out + r * columns + v * LANES) : Vec{};
  for (int64_t p = 0; p < depth; p++) {
    Vec row[WIDE];
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) row[v] = load(b + p * columns + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      float x = a[p * step_p + r * step_r];
#pragma GCC unroll 4
      for (int v = 0; v < WIDE; v++) sum[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) store(out + r * columns + v * LANES, sum[r][v]);
}

template <int WIDE>
void product_columns(const float* a, int64_t step_r, int64_t step_p, const float* b, int64_t rows, int64_t columns,
                     int64_t depth, float* out, bool add) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8)
    block<8, WIDE>(a + r * step_r, step_r, step_p, b, columns, depth, out + r * columns, add);
  for (; r < rows; r++) block<1, WIDE>(a + r * step_r, step_r, step_p, b, columns, depth, out + r * columns, add);
}

void product(const float* a, int64_t step_r, int64_t step_p, const float* b, int64_t rows, int64_t columns,
             int64_t depth, float* out, bool add) {
  int64_t j = 0;
  for (; j + 2 * LANES <= columns; j += 2 * LANES)
    product_columns<2>(a, step_r, step_p, b + j, rows, columns, depth, out + j, add);
  for (; j < columns; j += LANES)
    product_columns<1>(a, step_r, step_p, b + j, rows, columns, depth, out + j, add);
}

int64_t padded(int64_t size) { return size + LANES; }  // streams of a power of two apart would share cache sets

}  // namespace

extern "C" {

// out (N, H, W, K) = convolution of images (N, H, W, C) with transformed weights (36, C, K).
void winograd_forward(const float* images, const float* weights, float* out, int64_t n, int64_t h, int64_t w,
                      int64_t c, int64_t k, int64_t tiles, int64_t num_threads) {
  Grid grid(n, h, w);
  int64_t total = grid.num_tiles(), blocks = (total + tiles - 1) / tiles;
#pragma omp parallel num_threads(num_threads)
  {
    std::vector<float> from(POINTS * padded(tiles * c)), to(POINTS * padded(tiles * k));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
      int64_t first = i * tiles, count = std::min(tiles, total - first);
      scatter<Input, 1>(images, grid, c, first, count, from.data(), padded(tiles * c));
      for (int64_t p = 0; p < POINTS; p++)
        product(from.data() + p * padded(tiles * c), c, 1, weights + p * c * k, count, k, c,
                to.data() + p * padded(tiles * k), false);
      gather(to.data(), padded(tiles * k), grid, k, first, count, out);
    }
  }
}

// out (parts, 36, C, K): gradients of the transformed weights, one for each of `parts` ranges of tiles.
void winograd_weight_gradient(const float* images, const float* gradient, float* out, int64_t n, int64_t h, int64_t w,
                              int64_t c, int64_t k, int64_t tiles, int64_t parts) {
  Grid grid(n, h, w);
  int64_t total = grid.num_tiles(), blocks = (total + tiles - 1) / tiles;
#pragma omp parallel for num_threads(parts) schedule(static)
  for (int64_t part = 0; part < parts; part++) {
    std::vector<float> from(POINTS * padded(tiles * c)), to(POINTS * padded(tiles * k));
    float* sums = out + part * POINTS * c * k;
    int64_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
    std::memset(sums, 0, sizeof(float) * POINTS * c * k);
    for (int64_t i = begin; i < end; i++) {
      int64_t first = i * tiles, count = std::min(tiles, total - first);
      scatter<Input, 1>(images, grid, c, first, count, from.data(), padded(tiles * c));
      scatter<Gradient, 0>(gradient, grid, k, first, count, to.data(), padded(tiles * k));
      for (int64_t p = 0; p < POINTS; p++)
        product(from.data() + p * padded(tiles * c), 1, c, to.data() + p * padded(tiles * k), c, k, count,
                sums + p * c * k, true);
    }
  }
}
}
